// Elements in few words. Text only ever becomes text: nothing of the description or of an answer is read as markup.

/** An element with attributes and children; `null` and `false` among the children are left out. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

/** Paragraphs with `code` in them, which is all the markup that the description uses. */
export function prose(text, attributes) {
  const paragraphs = String(text ?? '').split(/\n\s*\n/).filter((it) => it.trim());
  return paragraphs.map((paragraph) => h('p', attributes, inline(paragraph)));
}

/** The same within a line. */
export function inline(text) {
  return String(text ?? '').split(/(`[^`]+`)/).map((part) => (/^`[^`]+`$/.test(part) ? h('code', {}, part.slice(1, -1)) : part));
}

/** `/admin/{name}` with its names set off. */
export function pathOf(path) {
  return path.split(/(\{[^}]+\})/).map((part) => (part.startsWith('{') ? h('var', {}, part) : part));
}

export function method(name) {
  return h('span', { class: `method ${name}` }, name.toUpperCase());
}

/** A block of code that can be copied. */
export function code(text, language) {
  const copy = h('button', { type: 'button', class: 'copy', onclick: () => copyText(copy, text) }, 'Copy');
  const colour = language === 'json' && text.length < 200_000;
  return h('div', { class: 'code' }, copy, h('pre', { tabindex: '0' }, h('code', {}, colour ? coloured(text) : text)));
}

export function json(value) {
  return code(JSON.stringify(value, null, 2), 'json');
}

async function copyText(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    button.textContent = 'Not allowed';
  }
  setTimeout(() => { button.textContent = 'Copy'; }, 1500);
}

const TOKENS = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** JSON text, its parts marked for the style sheet. */
function coloured(text) {
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(TOKENS)) {
    parts.push(text.slice(end, found.index));
    end = found.index + found[0].length;
    if (found[2] !== undefined) parts.push(h('span', { class: 'j-key' }, found[1]), found[2]);
    else parts.push(h('span', { class: found[1] ? 'j-text' : found[3] ? 'j-word' : 'j-number' }, found[0]));
  }
  return [...parts, text.slice(end)];
}
