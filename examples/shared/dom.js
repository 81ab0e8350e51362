// What the pages draw with, and how they are connected. Text from data becomes text nodes, never markup.

import { Livefeed } from '../client/livefeed.js';

/** An element: el('li', { class: 'card', onclick, 'data-id': 3 }, 'text', child, ...) */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false).map((child) => child?.nodeType ? child : String(child)));
  return element;
}

export const find = (selector, from = document) => from.querySelector(selector);

/** A copy of a <template>'s element. */
export const copy = (id) => document.getElementById(id).content.cloneNode(true).firstElementChild;

/** Somebody's connection to the bridge that serves the page; the badge shows whether it is live. */
export function connect(token, badge) {
  const live = new Livefeed('../', { token });
  const show = () => {
    badge.classList.toggle('on', live.status === 'live');
    badge.textContent = live.closed?.reason ?? live.status;
  };
  live.onStatus(show);
  show();
  return live;
}

/** Draws the rows of a feed's channel, and again after each change; the event is null when all are new. */
export function follow(live, channel, draw, handlers) {
  const collection = live.collection(channel, handlers);
  collection.onChange((event) => draw([...collection.rows.values()], event));
  return collection;
}

/** Runs a command for a button, and says it when it is refused. */
export async function attempt(what) {
  try {
    return await what();
  } catch (error) {
    toast(error.message);
    return undefined;
  }
}

export function toast(text) {
  const note = el('div', { class: 'toast', role: 'alert' }, text);
  document.body.append(note);
  setTimeout(() => note.remove(), 4000);
}

/** The people whose side of the page is shown: what the application's own login would give a page. */
export const sessions = async () => (await fetch('session.json')).json();

export const time = (stamp) => new Date(stamp).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

/** The links between the demo's pages, each with its own bridge; nothing where a page stands alone. */
export async function links(here) {
  const answer = await fetch('../demo.json');
  if (!answer.ok) return;
  const ports = await answer.json();
  find('body').prepend(el('nav', { 'aria-label': 'examples' }, Object.entries(ports).map(([name, port]) => (
    el('a', { href: `http://${location.hostname}:${port}/${name}/`, class: name === here && 'here' }, name)))));
}

/**
 * Makes the children of `parent` those of `items`, in their order: what is there already is kept and
 * updated, so that a button stays the button one is about to press.
 */
export function reconcile(parent, items, keyOf, make, update = () => {}) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let child = old.get(key);
    old.delete(key);
    if (!child) {
      child = make(item);
      child.dataset.key = key;
    }
    update(child, item);
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
  for (const gone of old.values()) gone.remove();
}

/** Lights an element up for a moment. */
export function flash(element) {
  element.classList.remove('fresh');
  void element.offsetWidth; // so that the animation begins again
  element.classList.add('fresh');
}
