// Trying an operation on the API that serves this page.

import { code, h, inline } from './dom.js';

/** The token lives in this variable of the page: it is never stored, and gone when the page is. */
export class Token {
  #text = '';

  set(text) {
    this.#text = text.trim();
  }

  get isSet() {
    return this.#text !== '';
  }

  headers() {
    return this.isSet ? { Authorization: `Bearer ${this.#text}` } : {};
  }
}

export function form(api, operation, token) {
  const inputs = operation.parameters.filter((it) => it.in !== 'cookie').map((parameter) => [parameter, input(api, parameter)]);
  const types = Object.keys(operation.body?.content ?? {}).filter((type) => type.includes('json'));
  const body = types.length > 0 && h('textarea', { spellcheck: 'false', rows: '12', 'aria-label': 'body' });
  if (body) body.value = JSON.stringify(exampleOf(api, operation.body.content[types[0]]), null, 2);
  const shown = h('div', { class: 'line' });
  const result = h('div', { class: 'result', 'aria-live': 'polite' });
  const current = () => request(operation, inputs, body, types[0]);
  const renew = () => shown.replaceChildren(code(curl(current(), operation)));
  const button = h('button', { type: 'submit', class: 'primary' }, 'Send');
  const send = async (event) => {
    event.preventDefault();
    button.disabled = true;
    result.replaceChildren(h('p', { class: 'quiet' }, 'Waiting for the answer…'));
    result.replaceChildren(...await ask(current(), token));
    button.disabled = false;
  };
  renew();
  return h('form', { class: 'try', oninput: renew, onsubmit: send },
    h('h2', {}, 'Try it'),
    operation.isSecured && h('p', { class: 'hint unknown' }, 'This needs a token: put one in at the top of the page.'),
    operation.method !== 'get' && h('p', { class: 'hint' }, 'Sent for real, to the API that serves this page.'),
    inputs.map(([parameter, field]) => h('label', {}, h('span', {}, h('code', {}, parameter.name), parameter.required && h('em', { class: 'must' }, ' required')), field)),
    body && h('label', {}, h('span', {}, 'body ', h('code', { class: 'quiet' }, types[0])), body),
    h('p', {}, button),
    h('h3', {}, 'As a command'), shown,
    result);
}

function exampleOf(api, content) {
  return content.example ?? Object.values(content.examples ?? {})[0]?.value ?? api.schemas.sample(content.schema);
}

function input({ schemas }, parameter) {
  const schema = schemas.follow(parameter.schema ?? {});
  const hint = schema.examples?.[0] ?? (schema.default != null ? String(schema.default) : '');
  if (schema.enum) {
    return h('select', {}, !parameter.required && h('option', { value: '' }, ''), schema.enum.map((word) => h('option', {}, word)));
  }
  if ([schema.type].flat()[0] === 'boolean') return h('select', {}, ['', 'true', 'false'].map((word) => h('option', {}, word)));
  const value = parameter.required ? String(parameter.example ?? '') : '';
  return h('input', { value, placeholder: hint, required: parameter.required, autocomplete: 'off', spellcheck: 'false' });
}

/** What the form says, as a request. */
function request(operation, inputs, body, type) {
  const given = inputs.filter(([parameter, field]) => parameter.required || field.value !== '');
  const of = (place) => given.filter(([parameter]) => parameter.in === place).map(([parameter, field]) => [parameter.name, field.value]);
  const path = of('path').reduce((at, [name, value]) => at.replace(`{${name}}`, encodeURIComponent(value)), operation.path);
  const query = new URLSearchParams(of('query')).toString();
  const headers = Object.fromEntries(of('header'));
  const text = body && body.value.trim() !== '' ? body.value : undefined;
  if (text !== undefined) headers['Content-Type'] = type;
  const url = new URL(`.${path}${query && `?${query}`}`, document.baseURI);
  return { method: operation.method.toUpperCase(), url, headers, body: text };
}

function curl({ method, url, headers, body }, operation) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const lines = [`curl ${method === 'GET' ? '' : `-X ${method} `}${quoted(url.href)}`];
  if (operation.isSecured) lines.push('-H "Authorization: Bearer $ADMIN_TOKEN"');
  for (const [name, value] of Object.entries(headers)) lines.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (body !== undefined) lines.push(`-d ${quoted(compact(body))}`);
  return lines.join(' \\\n  ');
}

function compact(text) {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return text;
  }
}

async function ask({ method, url, headers, body }, token) {
  const started = performance.now();
  try {
    // Without cookies: a session of the panel must not act here unseen.
    const answer = await fetch(url, { method, body, headers: { ...headers, ...token.headers() }, credentials: 'omit', redirect: 'manual', cache: 'no-store' });
    const text = await answer.text();
    const took = Math.round(performance.now() - started);
    const isJson = /json/.test(answer.headers.get('content-type') ?? '');
    const lines = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join('\n');
    return [
      h('h3', {}, h('span', { class: `status s${String(answer.status)[0]}` }, answer.status), ' ', answer.statusText, ' ', h('small', {}, `${took} ms`)),
      text === '' ? h('p', { class: 'quiet' }, 'Without a body.') : code(isJson ? pretty(text) : text, isJson && 'json'),
      h('details', {}, h('summary', {}, 'headers'), code(lines)),
    ];
  } catch (error) {
    return [h('p', { class: 'hint warn' }, inline(`No answer: ${error.message}`))];
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
