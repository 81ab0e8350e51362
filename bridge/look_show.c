/*
 * look_show.c - frames for who looks on (look_show.h).
 *
 * For a terminal a frame is one line that says what it is, and its data below it, a line a row. Names and data are those
 * of the application's users: everything goes through visible_escape, colours alone are ours.
 */
#include "look_show.h"

#include <stdlib.h>
#include <string.h>

#include "terminal.h"
#include "visible.h"

#define CHUNK_BYTES 16384 /* escaped at a time */

enum field {
	F_TYPE,
	F_FEED,
	F_ACTION,
	F_UNIT,
	F_KEY,
	F_CHANGED,
	F_AT,
	F_BY,
	F_DATA,
	F_ID,
	F_CHANNELS,
	F_CHANNEL,
	F_CURSOR,
	F_REASON,
	F_CODE,
	F_MESSAGE,
	F_LIVE,
	F_RECOVERED,
	F_TRUNCATED,
	F_TOO_LARGE,
	F_REF,
	N_FIELDS
};

static const char *const field_names[N_FIELDS] = {
	"type",       "feed",    "action", "unit",      "key",       "changed",   "updated_at",
	"updated_by", "data",    "id",     "channels",  "channel",   "cursor",    "reason",
	"code",       "message", "live",   "recovered", "truncated", "too_large", "ref"};

/* ---- writing */

/* Line feeds and tabs, which JSON has between its parts alone, become spaces. */
static void put_visible(struct json_out *out, struct text text)
{
	static char line[CHUNK_BYTES * VISIBLE_GROWS];
	while (text.len > 0) {
		size_t n = 0;
		while (n < text.len && n < CHUNK_BYTES && !strchr("\t\r\n", text.bytes[n] ? text.bytes[n] : ' ')) {
			n++;
		}
		if (n == 0) {
			json_puts(out, " ");
			text.bytes++;
			text.len--;
			continue;
		}
		while (n < text.len && n > CHUNK_BYTES - 4 && ((unsigned char)text.bytes[n] & 0xC0) == 0x80) {
			n--; /* not through a character */
		}
		json_put(out, line, visible_escape(line, text.bytes, n, false));
		text.bytes += n;
		text.len -= n;
	}
}

static void paint(struct json_out *out, const struct look_style *style, enum colour colour)
{
	if (style->colour) {
		json_puts(out, terminal_colour(colour));
	}
}

static bool is(struct text value, const char *json)
{
	return value.bytes && value.len == strlen(json) && memcmp(value.bytes, json, value.len) == 0;
}

static bool is_given(struct text value)
{
	return value.bytes && !is(value, "null");
}

/* A JSON string without its quotes; anything else as it stands. */
static struct text plain(struct text value)
{
	if (value.len >= 2 && value.bytes[0] == '"') {
		return (struct text){value.bytes + 1, value.len - 2};
	}
	return value;
}

static void put_named(struct json_out *out, const char *before, struct text value)
{
	if (is_given(value)) {
		json_puts(out, before);
		put_visible(out, plain(value));
	}
}

/* The end of the value at text, which is good JSON. */
static size_t value_end(struct text text)
{
	size_t depth = 0;
	bool string = false;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.bytes[i];
		if (string) {
			i += c == '\\';
			string = c != '"';
		} else if (c == '"') {
			string = true;
		} else if (c == '[' || c == '{') {
			depth++;
		} else if (depth == 0 && (c == ',' || c == ']')) {
			return i;
		} else if (c == ']' || c == '}') {
			depth--;
		}
	}
	return text.len;
}

static void skip_space(struct text *rest)
{
	while (rest->len > 0 && strchr(" \t\r\n", rest->bytes[0])) {
		rest->bytes++;
		rest->len--;
	}
}

/* The next element of an array, of which rest is what stands behind its [ and was not seen yet; false: no more. */
static bool next_element(struct text *rest, struct text *element)
{
	skip_space(rest);
	size_t n = value_end(*rest);
	if (n == 0) {
		return false;
	}
	*element = (struct text){rest->bytes, n};
	rest->bytes += n;
	rest->len -= n;
	if (rest->len > 0 && rest->bytes[0] == ',') {
		rest->bytes++;
		rest->len--;
	}
	return true;
}

static void put_list(struct json_out *out, const char *before, struct text list)
{
	struct text element;
	if (!list.bytes || list.len == 0 || list.bytes[0] != '[') {
		return;
	}
	list.bytes++;
	list.len--;
	while (next_element(&list, &element)) {
		put_named(out, before, element);
		before = ", ";
	}
}

static void put_data(struct json_out *out, struct text data)
{
	json_puts(out, "    ");
	put_visible(out, data);
	json_puts(out, "\n");
}

/* ---- frames */

static void show_event(struct json_out *out, const struct json_wanted *fields, const struct look_style *style)
{
	struct text type = plain(fields[F_TYPE].value), action = plain(fields[F_ACTION].value);
	struct text at = plain(fields[F_AT].value);
	const char *dot = memrchr(type.bytes, '.', type.len);
	struct text verb = {dot ? dot + 1 : type.bytes, dot ? (size_t)(type.bytes + type.len - dot - 1) : type.len};
	paint(out, style, COLOUR_DIM);
	if (at.len > 23) { /* the time of day, to the millisecond */
		put_visible(out, (struct text){at.bytes + 11, 12});
	}
	put_named(out, "  ", fields[F_ID].value);
	json_puts(out, "  ");
	paint(out, style, COLOUR_NONE);
	paint(out, style, is(verb, "created") ? COLOUR_GREEN : is(verb, "deleted") ? COLOUR_RED : COLOUR_YELLOW);
	put_visible(out, type);
	paint(out, style, COLOUR_NONE);
	if (action.len != verb.len || memcmp(action.bytes, verb.bytes, verb.len) != 0) {
		put_named(out, " ", action);
	}
	put_named(out, "  key ", fields[F_KEY].value);
	put_named(out, "  unit ", fields[F_UNIT].value);
	put_named(out, "  by ", fields[F_BY].value);
	put_list(out, "  changed ", fields[F_CHANGED].value);
	paint(out, style, COLOUR_DIM);
	put_list(out, "  > ", fields[F_CHANNELS].value);
	paint(out, style, COLOUR_NONE);
	json_puts(out, "\n");
	if (is_given(fields[F_DATA].value)) {
		put_data(out, fields[F_DATA].value);
	} else if (is(fields[F_TOO_LARGE].value, "true")) {
		json_puts(out, "    (its data are too large for an event)\n");
	}
}

static void show_snapshot(struct json_out *out, const struct json_wanted *fields, const struct look_style *style)
{
	struct text rows = fields[F_DATA].value, row;
	paint(out, style, COLOUR_CYAN);
	json_puts(out, "snapshot");
	paint(out, style, COLOUR_NONE);
	put_named(out, "  ", fields[F_CHANNEL].value);
	put_named(out, "  at ", fields[F_CURSOR].value);
	json_puts(out, is(fields[F_TRUNCATED].value, "true") ? "  truncated\n" : "\n");
	if (rows.bytes && rows.len > 0 && rows.bytes[0] == '[') {
		rows.bytes++;
		rows.len--;
		while (next_element(&rows, &row)) {
			put_data(out, row);
		}
	}
}

/* Everything else is one line, of what it has. */
static void show_control(struct json_out *out, const struct json_wanted *fields, const struct look_style *style)
{
	struct text type = plain(fields[F_TYPE].value);
	bool bad = is(type, "error") || is(type, "resync") || is(type, "unsubscribed") || is(type, "closing");
	paint(out, style, bad ? COLOUR_RED : is(type, "value") ? COLOUR_CYAN : COLOUR_DIM);
	put_visible(out, type);
	paint(out, style, COLOUR_NONE);
	put_named(out, "  ", fields[F_CHANNEL].value);
	put_named(out, "  ", fields[F_CODE].value);
	put_named(out, ": ", fields[F_MESSAGE].value);
	if (is(fields[F_RECOVERED].value, "false")) {
		json_puts(out, "  not all since then is there:");
	}
	put_named(out, "  ", fields[F_REASON].value);
	if (fields[F_LIVE].value.bytes) {
		json_puts(out, is(fields[F_LIVE].value, "true") ? "  the database is there" : "  the database is away");
	}
	put_named(out, "  at ", fields[F_CURSOR].value);
	json_puts(out, "\n");
	if (fields[F_DATA].value.bytes) {
		put_data(out, fields[F_DATA].value);
	}
}

static enum look_kind kind_of(const struct json_wanted *fields)
{
	struct text type = fields[F_TYPE].value;
	if (is(type, "\"welcome\"")) {
		return LOOK_WELCOME;
	}
	if (is(type, "\"error\"") && fields[F_REF].value.bytes) {
		return LOOK_REFUSED;
	}
	return is(type, "\"unsubscribed\"") ? LOOK_ENDED : LOOK_FRAME;
}

enum look_kind look_show(struct json_out *out, struct text frame, const struct look_style *style)
{
	struct json_wanted fields[N_FIELDS];
	struct json_fault fault;
	for (int i = 0; i < N_FIELDS; i++) {
		fields[i] = (struct json_wanted){field_names[i], {NULL, 0}};
	}
	bool good = json_check(frame.bytes, frame.len, fields, N_FIELDS, &fault);
	enum look_kind kind = good ? kind_of(fields) : LOOK_FRAME;
	if (kind == LOOK_WELCOME) {
		return kind;
	}
	if (!good || style->json || !fields[F_TYPE].value.bytes) {
		put_visible(out, frame);
		json_puts(out, "\n");
	} else if (fields[F_ID].value.bytes && fields[F_ACTION].value.bytes) {
		show_event(out, fields, style);
	} else if (is(fields[F_TYPE].value, "\"snapshot\"")) {
		show_snapshot(out, fields, style);
	} else {
		show_control(out, fields, style);
	}
	return kind;
}
