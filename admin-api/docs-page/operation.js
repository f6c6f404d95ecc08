// The page of one operation: what it takes, what it answers, and a form to try it.

import { code, h, inline, json, method, pathOf, prose } from './dom.js';
import { form } from './try.js';

/** `api`: the description and its schemas; `token`: who calls. */
export function operationPage(api, operation, token) {
  return [
    h('p', { class: 'crumbs' }, h('a', { href: `#tag/${operation.tag}` }, operation.tag)),
    h('h1', {}, operation.summary),
    h('p', { class: 'endpoint' }, method(operation.method), h('code', {}, pathOf(operation.path))),
    prose(operation.description),
    h('div', { class: 'columns' },
      h('div', { class: 'about' },
        parameters(api, operation),
        requestBody(api, operation),
        answers(api, operation)),
      h('aside', {}, form(api, operation, token))),
  ];
}

const PLACES = { path: 'In the path', query: 'In the query', header: 'Headers', cookie: 'Cookies' };

function parameters({ schemas }, { parameters: all }) {
  return Object.entries(PLACES).map(([place, title]) => {
    const here = all.filter((parameter) => parameter.in === place);
    return here.length > 0 && h('section', {}, h('h2', {}, title), h('dl', { class: 'fields' }, here.map((parameter) => [
      h('dt', {}, h('code', {}, parameter.name), ' ', h('span', { class: 'type' }, schemas.words(parameter.schema ?? {})), ' ',
        parameter.required && h('em', { class: 'must' }, 'required')),
      h('dd', {}, parameter.description && h('p', {}, inline(parameter.description)), schemas.noteList(parameter.schema ?? {})),
    ])));
  });
}

function requestBody({ schemas }, { body }) {
  if (!body) return null;
  const [type, content] = Object.entries(body.content)[0];
  const others = Object.keys(body.content).slice(1);
  return h('section', {},
    h('h2', {}, 'Body ', !body.required && h('small', {}, 'may be left out')),
    prose(body.description),
    h('p', { class: 'quiet' }, h('code', {}, type), others.map((other) => [' or ', h('code', {}, other)])),
    schemas.nameOf(content.schema) && h('p', {}, schemas.words(content.schema)),
    content.schema && schemas.tree(content.schema));
}

function answers({ schemas }, { responses }) {
  const all = Object.entries(responses).map(([status, response]) => [status, schemas.follow(response)]);
  const good = all.filter(([status]) => status < '400');
  const bad = all.filter(([status]) => status >= '400');
  const list = (some, open) => some.map(([status, response], at) => answer(schemas, status, response, open && at === 0));
  return h('section', {}, h('h2', {}, 'Answers'), list(good, true), h('h2', {}, 'Refusals'), list(bad, false));
}

function answer(schemas, status, response, isOpen) {
  const contents = Object.entries(response.content ?? {});
  const headers = Object.entries(response.headers ?? {});
  const open = () => [
    headers.length > 0 && h('dl', { class: 'fields' }, headers.map(([name, header]) => [
      h('dt', {}, h('code', {}, name)), h('dd', {}, h('p', {}, inline(schemas.follow(header).description)))])),
    contents.map(([type, content], at) => [
      h('p', { class: 'quiet' }, h('code', {}, type)),
      at === 0 && type.includes('json') && [examples(schemas, content), content.schema && h('details', {}, h('summary', {}, 'what its fields mean'), schemas.tree(content.schema))],
      !type.includes('json') && content.example && code(String(content.example)),
    ]),
    contents.length === 0 && headers.length === 0 && h('p', { class: 'quiet' }, 'Without a body.'),
  ];
  const details = h('details', { class: `answer s${status[0]}` },
    h('summary', {}, h('span', { class: 'status' }, status), ' ', inline(response.description), ' ', codesOf(contents)));
  details.addEventListener('toggle', () => details.append(h('div', { class: 'inside' }, open())), { once: true });
  details.open = isOpen;
  return details;
}

/** The stable codes of a refusal. */
function codesOf(contents) {
  const names = contents.flatMap(([, content]) => Object.keys(content.examples ?? {}));
  return names.map((name) => [h('code', { class: 'quiet' }, name), ' ']);
}

function examples(schemas, content) {
  const named = Object.values(content.examples ?? {});
  if (named.length) return named.map((one) => [named.length > 1 && h('p', {}, inline(one.summary)), json(one.value)]);
  return json(content.example ?? schemas.sample(content.schema ?? {}));
}
