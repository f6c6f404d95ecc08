// The page around it all: the index, the search, and which page the address asks for.

import { h, inline, json, method, prose } from './dom.js';
import { operationPage } from './operation.js';
import { Schemas } from './schema.js';
import { Token } from './try.js';

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];
const content = document.getElementById('content');
const index = document.getElementById('index');
const search = document.getElementById('search');
const menu = document.querySelector('.menu');
const token = new Token();

function read(description) {
  const schemas = new Schemas(description);
  const operations = Object.entries(description.paths).flatMap(([path, item]) => METHODS.filter((it) => item[it]).map((it) => {
    const { requestBody, ...operation } = item[it];
    return {
      ...operation,
      id: operation.operationId,
      method: it,
      path,
      tag: operation.tags?.[0] ?? 'others',
      parameters: [...(item.parameters ?? []), ...(operation.parameters ?? [])].map((one) => schemas.follow(one)),
      body: requestBody && schemas.follow(requestBody),
      isSecured: (operation.security ?? description.security ?? []).length > 0,
    };
  }));
  const named = (description.tags ?? []).map((tag) => tag.name);
  const rest = operations.map((operation) => operation.tag).filter((tag) => !named.includes(tag));
  const tags = [...new Set([...named, ...rest])].map((name) => ({
    name,
    description: description.tags?.find((tag) => tag.name === name)?.description ?? '',
    operations: operations.filter((operation) => operation.tag === name),
  }));
  return { description, schemas, operations, tags: tags.filter((tag) => tag.operations.length > 0) };
}

// === pages ===

function home(api) {
  const { info } = api.description;
  return [
    h('h1', {}, info.title, ' ', h('small', {}, info.version)),
    prose(info.description, { class: 'lead' }),
    h('div', { class: 'cards' }, api.tags.map((tag) => h('a', { class: 'card', href: `#tag/${tag.name}` },
      h('strong', {}, tag.name), h('span', {}, inline(tag.description)), h('small', {}, `${tag.operations.length} operations`)))),
    h('h2', {}, 'Refusals'),
    h('p', {}, 'Every answer that says no has this shape; ', h('code', {}, 'code'), ' is stable, and ', h('code', {}, 'problems'), ' names each field that is wrong.'),
    json(exampleRefusal(api)),
    h('p', { class: 'quiet' }, 'The description that this page shows: ', h('a', { href: 'openapi.json' }, 'openapi.json'), ' (OpenAPI ', api.description.openapi, ').'),
  ];
}

function exampleRefusal({ description, schemas }) {
  const refusal = description.components?.responses?.UnprocessableEntity?.content?.['application/json'];
  return Object.values(refusal?.examples ?? {})[0]?.value ?? schemas.sample({ $ref: '#/components/schemas/Error' });
}

function tagPage(api, name) {
  const tag = api.tags.find((it) => it.name === name);
  return tag && [
    h('h1', {}, tag.name),
    prose(tag.description, { class: 'lead' }),
    h('ul', { class: 'operations' }, tag.operations.map((operation) => h('li', {},
      h('a', { href: `#op/${operation.id}` }, method(operation.method), h('span', {}, operation.summary), h('code', {}, operation.path))))),
  ];
}

function schemaPage(api, name) {
  const schema = api.schemas.all[name];
  return schema && [
    h('p', { class: 'crumbs' }, 'schema'),
    h('h1', {}, name),
    h('div', { class: 'columns' },
      h('div', { class: 'about' }, api.schemas.tree(schema)),
      h('aside', {}, h('h2', {}, 'For example'), json(api.schemas.sample(schema)))),
  ];
}

function pageOf(api, address) {
  const [kind, name] = address.split('/').map(decodeURIComponent);
  const operation = kind === 'op' && api.operations.find((it) => it.id === name);
  if (operation) return [operation.summary, operationPage(api, operation, token)];
  const page = (kind === 'tag' && tagPage(api, name)) || (kind === 'schema' && schemaPage(api, name));
  return page ? [name, page] : ['', home(api)];
}

// === index ===

function drawIndex(api) {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (...texts) => words.every((word) => texts.some((text) => text?.toLowerCase().includes(word)));
  const here = location.hash.slice(1);
  const link = (address, ...children) => h('a', { href: `#${address}`, 'aria-current': address === here && 'page' }, children);
  const groups = api.tags.map((tag) => {
    const found = tag.operations.filter((it) => fits(it.summary, it.path, it.id, it.method, tag.name));
    return found.length > 0 && h('details', { open: words.length > 0 || found.some((it) => `op/${it.id}` === here) || here === `tag/${tag.name}` },
      h('summary', {}, tag.name, ' ', h('small', {}, found.length)),
      found.map((it) => link(`op/${it.id}`, method(it.method), h('span', {}, it.summary))));
  });
  const schemas = Object.keys(api.schemas.all).filter((name) => fits(name, 'schema'));
  index.replaceChildren(...groups.filter(Boolean), schemas.length > 0 && h('details', { open: words.length > 0 || here.startsWith('schema/') },
    h('summary', {}, 'schemas', ' ', h('small', {}, schemas.length)), schemas.map((name) => link(`schema/${name}`, name))));
  if (groups.every((group) => !group) && schemas.length === 0) index.replaceChildren(h('p', { class: 'quiet' }, 'Nothing has these words.'));
}

function drawPage(api) {
  const [title, page] = pageOf(api, location.hash.slice(1));
  document.title = title ? `${title} · Gatehouse admin API` : 'Gatehouse admin API';
  content.replaceChildren(...page.flat(Infinity).filter(Boolean));
  openMenu(false);
  window.scrollTo(0, 0);
}

function openMenu(isOpen) {
  document.body.classList.toggle('open', isOpen);
  menu.setAttribute('aria-expanded', String(isOpen));
}

function drawToken() {
  const field = h('input', { type: 'password', placeholder: 'Bearer token', autocomplete: 'off', spellcheck: 'false', 'aria-label': 'Bearer token', title: 'Kept in this page’s memory only; gone when the page is' });
  field.addEventListener('input', () => {
    token.set(field.value);
    document.body.classList.toggle('known', token.isSet);
  });
  document.getElementById('token').replaceChildren(field);
}

function listen(api) {
  window.addEventListener('hashchange', () => {
    drawPage(api);
    drawIndex(api);
    content.focus({ preventScroll: true });
  });
  search.addEventListener('input', () => {
    drawIndex(api);
    openMenu(true);
  });
  search.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') index.querySelector('a')?.click();
    if (event.key === 'Escape') {
      search.value = '';
      drawIndex(api);
      openMenu(false);
    }
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === '/' && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      search.focus();
    }
  });
  menu.addEventListener('click', () => openMenu(!document.body.classList.contains('open')));
}

try {
  const answer = await fetch('openapi.json', { credentials: 'omit' });
  if (!answer.ok) throw new Error(`openapi.json was answered ${answer.status}`);
  const api = read(await answer.json());
  drawToken();
  listen(api);
  drawPage(api);
  drawIndex(api);
} catch (error) {
  content.replaceChildren(h('h1', {}, 'The description could not be read'), h('p', {}, error.message));
}
