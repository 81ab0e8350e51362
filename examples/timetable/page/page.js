// A planner's and a head's side: jobs with their progress, imports, and plans in review.

import { attempt, connect, copy, el, find, follow, links, reconcile, sessions } from '../shared/dom.js';

const JOBS_SHOWN = 4;

class Person {
  #watched = new Map(); // by job, the subscription to its progress
  #opened = null; // the workflow in review
  #review = null; // and what it holds
  #page = null; // the subscription that brings it

  constructor(session, element) {
    this.session = session;
    this.element = element;
    this.part('h2').textContent = session.name;
    this.part('.who').textContent = session.roles.join(', ');
    this.planner = session.roles.includes('planner');
    this.head = session.roles.includes('head');
    this.part('.generate').hidden = !this.planner;
    this.part('.verdict').hidden = !this.head;
    this.live = connect(session.token, this.part('.live'));
    follow(this.live, `generation_jobs:unit:${session.school}`, (rows) => this.jobs(rows));
    follow(this.live, `imports:unit:${session.school}`, (rows) => this.imports(rows));
    follow(this.live, `workflows:unit:${session.school}`, (rows) => this.workflows(rows));
    this.part('.generate').addEventListener('submit', (event) => this.generate(event));
    this.part('.verdict').addEventListener('submit', (event) => this.verdict(event));
  }

  part(selector) { return find(selector, this.element); }

  bar(title) {
    return el('div', { class: 'job' },
      el('div', { class: 'line' }, el('span', { class: 'title' }, title), el('span', { class: 'pill' }), el('span', { class: 'step faint' }), el('span', { class: 'percent' })),
      el('progress', { max: 100, value: 0, 'aria-label': title }));
  }

  fill(bar, { state, percent, step = '' }) {
    find('progress', bar).value = percent;
    find('.percent', bar).textContent = `${percent}%`;
    find('.step', bar).textContent = state === 'Running' ? step : '';
    Object.assign(find('.pill', bar), { className: `pill ${state}`, textContent: state });
    const cancel = find('button', bar);
    if (cancel) cancel.hidden = !['Queued', 'Running'].includes(state);
  }

  // The list from the feed; how far each is from its value, which is there at once and only ever the newest.
  jobs(rows) {
    const shown = rows.sort((a, b) => b.id - a.id).slice(0, JOBS_SHOWN);
    reconcile(this.part('.jobs'), shown, (job) => job.id, (job) => {
      const bar = this.bar(job.title);
      if (this.planner) find('.line', bar).append(el('button', { class: 'small', onclick: () => attempt(() => this.live.call('cancel', { job: job.id })) }, 'Cancel'));
      this.fill(bar, { ...job, percent: Math.floor(100 * job.done / job.total) });
      this.#watched.set(job.id, this.live.subscribe(`progress:row:${job.id}`, { onValue: (value) => value && this.fill(bar, value) }));
      return bar;
    });
    for (const [id, progress] of this.#watched) {
      if (shown.some((job) => job.id === id)) continue;
      this.#watched.delete(id);
      progress.unsubscribe();
    }
  }

  imports(rows) {
    const newest = rows.sort((a, b) => Number(b.id.split('-')[1]) - Number(a.id.split('-')[1])).slice(0, 1);
    reconcile(this.part('.imports'), newest, (row) => row.id, (row) => this.bar(row.id), (bar, row) => (
      this.fill(bar, { state: row.done < row.total ? 'Running' : 'Completed', percent: Math.floor(100 * row.done / row.total) })));
  }

  workflows(rows) {
    const newest = rows.sort((a, b) => b.id - a.id).slice(0, 6);
    reconcile(this.part('.workflows'), newest, (row) => row.id,
      (row) => el('button', { role: 'tab', onclick: () => this.open(row.id) }, row.title),
      (tab, row) => tab.setAttribute('aria-selected', String(row.id === this.#opened)));
    if (this.#opened === null && newest.length) this.open(newest[newest.length - 1].id);
  }

  open(id) {
    this.#page?.unsubscribe();
    this.#opened = id;
    for (const tab of this.part('.workflows').children) tab.setAttribute('aria-selected', String(Number(tab.dataset.key) === id));
    this.#page = this.live.subscribe(`review_page:row:${id}`, { onValue: (value) => value && this.review(value) });
  }

  review(plan) {
    this.#review = plan;
    this.part('.review').hidden = false;
    this.part('.verdict').hidden = !this.head || plan.status !== 'In Review';
    this.part('.review .title').textContent = plan.title;
    Object.assign(this.part('.status'), { className: `status pill ${plan.status}`, textContent: plan.status });
    this.part('.comments').textContent = [plan.reviewed_by && `by ${plan.reviewed_by}`, plan.comments].filter(Boolean).join(': ');
    reconcile(this.part('.variants'), plan.variants, (variant) => variant.id, (variant) => (
      el('tr', {}, el('td', {}, variant.name), el('td', {}, variant.conflicts), el('td', {}, variant.gaps), el('td', {},
        el('button', { class: 'small', onclick: () => attempt(() => this.live.call('select_variant', { variant: variant.id })) }, 'Select')))),
    (row, variant) => {
      row.classList.toggle('chosen', variant.selected);
      const button = find('button', row);
      button.disabled = variant.selected || !this.planner;
      button.textContent = variant.selected ? 'Selected' : 'Select';
    });
  }

  async generate(event) {
    event.preventDefault();
    const form = event.target;
    const made = await attempt(() => this.live.call('generate', { school: this.session.school, title: form.elements.title.value }));
    if (made) form.reset();
  }

  async verdict(event) {
    event.preventDefault();
    const form = event.target;
    const done = await attempt(() => this.live.call('review', { workflow: this.#review.id, verdict: event.submitter.value, comments: form.elements.comments.value }));
    if (done) form.reset();
  }
}

links('timetable');
for (const session of await sessions()) {
  const element = copy('person');
  find('#people').append(element);
  new Person(session, element);
}
