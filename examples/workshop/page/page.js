// One person's side of the shop: the board and the day at the counter. `?as=noah`
// shows the page as another.

import { attempt, connect, el, find, flash, links, reconcile, sessions } from '../shared/dom.js';

const DRAG_FROM_PX = 5; // less is a click

const people = await sessions();
const asked = new URLSearchParams(location.search).get('as');
const me = people.find((person) => person.user === asked) ?? people[0];
const other = people.find((person) => person !== me);
const shop = me.shop;

links('workshop');
find('h2').textContent = me.name;
find('.who').textContent = 'Harbour Garage';
Object.assign(find('.other'), { href: `?as=${encodeURIComponent(other.user)}`, target: '_blank', textContent: `Open ${other.name}'s side in another window.` });

// The board: four feeds, each with what is there now and then each change.
const board = { columns: new Map(), cards: new Map(), comments: new Map(), labels: new Map() };
let dragging = null;
let opened = null; // the card whose details are shown

const live = connect(me.token, find('.live'));
for (const name of Object.keys(board)) {
  const collection = live.collection(`${name === 'columns' ? 'board_columns' : name}:unit:${shop}`);
  collection.onChange((event) => { board[name] = collection.rows; draw(event); });
}

const sorted = (rows, by) => [...rows.values()].sort((a, b) => a[by] - b[by]);
const inColumn = (id) => sorted(board.cards, 'position').filter((card) => card.column_id === id);

function draw(event) {
  if (dragging) return; // nothing moves under the hand; drawn when it lets go
  reconcile(find('.board'), sorted(board.columns, 'position'), (column) => column.id,
    (column) => el('section', { class: 'column' }, el('h3', {}), el('div', { class: 'cards', 'data-column': column.id })),
    (section, column) => {
      const cards = inColumn(column.id);
      find('h3', section).textContent = `${column.title} (${cards.length})`;
      reconcile(find('.cards', section), cards, (card) => card.id, makeCard, fillCard);
    });
  const focus = event && event.data && find(`.card[data-key="${CSS.escape(String(event.feed === 'cards' ? event.key : event.data.card_id))}"]`);
  if (focus && event.action !== 'reordered') flash(focus);
  details();
}

function makeCard(card) {
  return el('article', { class: 'card', tabindex: 0, onpointerdown: grab, onkeydown: (event) => step(event, card.id), onclick: () => open(card.id) },
    el('div', {}, el('div', { class: 'title' }), el('div', { class: 'car' })), el('span', { class: 'grip', title: 'drag' }, '⠿'), el('div', { class: 'marks' }));
}

function fillCard(element, card) {
  find('.title', element).textContent = card.title;
  find('.car', element).textContent = card.car;
  const said = [...board.comments.values()].filter((comment) => comment.card_id === card.id).length;
  find('.marks', element).replaceChildren(...labelsOf(card.id), ...(said ? [el('small', { class: 'faint' }, `${said} ${said === 1 ? 'comment' : 'comments'}`)] : []));
}

const labelsOf = (id, more = () => null) => [...board.labels.values()].filter((label) => label.card_id === id)
  .map((label) => el('span', { class: `pill ${['red', 'blue', 'green'].includes(label.colour) ? label.colour : ''}` }, label.name, more(label)));

const move = (card, column, position) => attempt(() => live.call('move_card', { card, column, position }));

// By keyboard: left and right to the next column, up and down within one.
function step(event, id) {
  const card = board.cards.get(String(id));
  const columns = sorted(board.columns, 'position').map((column) => column.id);
  const at = columns.indexOf(card.column_id);
  switch (event.key) {
    case 'ArrowLeft': if (at > 0) move(id, columns[at - 1], card.position); break;
    case 'ArrowRight': if (at < columns.length - 1) move(id, columns[at + 1], card.position); break;
    case 'ArrowUp': if (card.position > 1) move(id, card.column_id, card.position - 1); break;
    case 'ArrowDown': move(id, card.column_id, card.position + 1); break;
    case 'Enter': open(id); break;
    default: return;
  }
  event.preventDefault();
}

// By hand, with a mouse on the card or a finger on its grip.
function grab(event) {
  if (event.button !== 0 || (event.pointerType !== 'mouse' && !event.target.closest('.grip'))) return;
  const element = event.currentTarget;
  const start = { x: event.clientX, y: event.clientY };
  let place = null;
  const moved = ({ clientX, clientY }) => {
    if (!dragging && Math.hypot(clientX - start.x, clientY - start.y) < DRAG_FROM_PX) return;
    dragging = element;
    element.classList.add('dragged');
    element.style.transform = `translate(${clientX - start.x}px, ${clientY - start.y}px)`;
    place = placeAt(clientX, clientY, element);
    mark(place);
  };
  const done = ({ type }) => {
    for (const name of ['pointermove', 'pointerup', 'pointercancel']) removeEventListener(name, name === 'pointermove' ? moved : done);
    if (!dragging) return;
    dragging = null;
    element.classList.remove('dragged');
    element.style.transform = '';
    mark(null);
    // The click that follows is none.
    addEventListener('click', (click) => click.stopPropagation(), { capture: true, once: true });
    setTimeout(() => dispatchEvent(new Event('click')), 0);
    const id = Number(element.dataset.key);
    if (type === 'pointerup' && place) {
      // Shown at once; the event says so to everybody, or nothing comes and the next drawing takes it back.
      place.list.insertBefore(element, place.before);
      move(id, place.column, place.position).then(() => draw());
    } else {
      draw();
    }
  };
  addEventListener('pointermove', moved);
  addEventListener('pointerup', done);
  addEventListener('pointercancel', done);
}

function placeAt(x, y, element) {
  const list = find('.cards', document.elementsFromPoint(x, y).find((each) => each.classList.contains('column')) ?? document.createElement('div'));
  if (!list) return null;
  const others = [...list.children].filter((card) => card !== element);
  const before = others.find((card) => { const box = card.getBoundingClientRect(); return y < box.top + box.height / 2; }) ?? null;
  return { list, before, column: Number(list.dataset.column), position: before ? others.indexOf(before) + 1 : others.length + 1 };
}

function mark(place) {
  for (const element of document.querySelectorAll('.before, .end')) element.classList.remove('before', 'end');
  if (place?.before) place.before.classList.add('before');
  else place?.list.classList.add('end');
}

// A card's details.
function open(id) {
  opened = String(id);
  find('.edit').elements.title.value = board.cards.get(opened).title;
  details();
  find('.details').showModal();
}

function details() {
  if (opened === null) return;
  if (!board.cards.has(opened)) { find('.details').close(); return; }
  const id = Number(opened);
  find('.details .labels').replaceChildren(...labelsOf(id, (label) => el('button', {
    class: 'off', title: 'take off', onclick: () => attempt(() => live.call('set_label', { card: id, name: label.name })) }, '×')));
  const place = find('.place').elements.column;
  reconcile(place, sorted(board.columns, 'position'), (column) => column.id, (column) => el('option', { value: column.id }), (option, column) => { option.textContent = column.title; });
  place.value = board.cards.get(opened).column_id;
  reconcile(find('.comments'), sorted(board.comments, 'id').filter((comment) => comment.card_id === id), (comment) => comment.id,
    (comment) => el('li', {}, el('b', {}, comment.author), ' ', comment.body));
}

find('.details').addEventListener('close', () => { opened = null; });
find('.edit').addEventListener('submit', (event) => {
  event.preventDefault();
  attempt(() => live.call('edit_card', { card: Number(opened), title: event.target.elements.title.value }));
});
find('.place').elements.column.addEventListener('change', (event) => move(Number(opened), Number(event.target.value)));
find('.drop').addEventListener('click', () => attempt(() => live.call('drop_card', { card: Number(opened) })));
find('.mark').addEventListener('submit', async (event) => {
  event.preventDefault();
  const { name, colour } = event.target.elements;
  if (await attempt(() => live.call('set_label', { card: Number(opened), name: name.value, colour: colour.value }))) event.target.reset();
});
find('.add').addEventListener('submit', async (event) => {
  event.preventDefault();
  const { title, car } = event.target.elements;
  const [first] = sorted(board.columns, 'position');
  if (await attempt(() => live.call('new_card', { column: first.id, title: title.value, car: car.value }))) event.target.reset();
});
find('.say').addEventListener('submit', async (event) => {
  event.preventDefault();
  if (await attempt(() => live.call('add_comment', { card: Number(opened), body: event.target.elements.body.value }))) event.target.reset();
});

// The day at the counter: three values.
const clock = (stamp) => new Date(stamp).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hourCycle: 'h23', timeZone: 'UTC' });
const NEXT = { Pending: 'Confirmed', Confirmed: 'Done' };

const show = (query, onValue) => live.subscribe(`${query}:unit:${shop}`, { onValue });
show('pending_count', (count) => { find('.pending').textContent = count; });
show('today_appointments', (list) => reconcile(find('.appointments'), list, (each) => each.id,
  (each) => el('li', {}, el('span', { class: 'at' }), el('span', { class: 'customer' }), el('span', { class: 'car faint' }), el('span', { class: 'pill' }),
    el('button', { class: 'small', onclick: (event) => attempt(() => live.call('set_appointment', { appointment: each.id, status: event.currentTarget.dataset.next })) })),
  (line, each) => {
    find('.at', line).textContent = clock(each.starts_at);
    find('.customer', line).textContent = each.customer;
    find('.car', line).textContent = each.car;
    Object.assign(find('.pill', line), { className: `pill ${each.status}`, textContent: each.status });
    const next = NEXT[each.status];
    Object.assign(find('button', line), { hidden: !next, textContent: next === 'Done' ? 'Done' : 'Confirm' });
    find('button', line).dataset.next = next ?? '';
  }));
show('today_schedule', (bays) => find('.schedule').replaceChildren(...Object.entries(bays).map(([bay, taken]) => (
  el('div', { class: 'bay' }, el('b', {}, `Bay ${bay}`), el('div', {}, taken.map((slot) => el('span', {}, `${slot.from} to ${slot.to} ${slot.car}`))))))));

find('.book').addEventListener('submit', async (event) => {
  event.preventDefault();
  const { customer, car, at } = event.target.elements;
  const today = new Date().toISOString().slice(0, 10);
  if (await attempt(() => live.call('book_appointment', { shop, customer: customer.value, car: car.value, at: `${today}T${at.value}Z` }))) event.target.reset();
});
