// Medians, and tables of them as Markdown, which reads as plain text too.
export const median = (values) => quantile(values, 0.5);

export function quantile(values, q) {
    const sorted = [...values].sort((a, b) => a - b);
    const at = (sorted.length - 1) * q;
    const low = Math.floor(at), high = Math.ceil(at);
    return sorted[low] + (sorted[high] - sorted[low]) * (at - low);
}

/** A number for people: three figures that count. */
export function show(value, unit = '') {
    if (value === undefined || value === null || Number.isNaN(value)) return '-';
    const size = Math.abs(value);
    const text = Number.isInteger(value) ? value.toLocaleString('en-US')
        : size >= 1000 ? Math.round(value).toLocaleString('en-US') : size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : value.toFixed(2);
    return unit ? `${text} ${unit}` : text;
}

/** Median, with the least and the greatest of the rounds. */
export function spread(values, unit = '') {
    if (values.length < 2) return show(median(values), unit);
    return `${show(median(values), unit)} (${show(Math.min(...values))} to ${show(Math.max(...values))})`;
}

/** 'at most 1.3' / 'at least 0.9' and whether it is so. */
export const atMost = (bound, value) => `≤ ${bound}: ${value <= bound ? 'met' : 'missed'}`;
export const atLeast = (bound, value) => `≥ ${bound}: ${value >= bound ? 'met' : 'missed'}`;

/** The median of the rounds' ratios: what drifts during the bench drifts for both. */
export const ratios = (a, b) => a.map((value, i) => value / b[i]);

export function markdown(columns, rows) {
    const cells = [columns, ...rows].map((row) => row.map((cell) => String(cell)));
    const widths = columns.map((_, i) => Math.max(...cells.map((row) => row[i].length), 3));
    const line = (row) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
    return [line(cells[0]), `|${widths.map((w) => '-'.repeat(w + 2)).join('|')}|`, ...cells.slice(1).map(line)].join('\n');
}
