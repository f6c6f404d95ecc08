// Schemas: what a value may be, in words and as a tree, and an example where the description has none.

import { h, inline, prose } from './dom.js';

const NAMED = '#/components/schemas/';

/** Larger ones are the bounds of a type, and tell nobody anything. */
const WIDEST = 2 ** 31;

export class Schemas {
  constructor(description) {
    this.description = description;
    this.all = description.components?.schemas ?? {};
  }

  /** What a reference leads to; anything else as it is. What stands beside the reference goes first. */
  follow(it) {
    if (!it?.$ref) return it ?? {};
    const found = it.$ref.slice(2).split('/').reduce((at, name) => at?.[name.replaceAll('~1', '/')], this.description) ?? {};
    const { $ref, ...beside } = it;
    return { ...this.follow(found), ...beside };
  }

  nameOf(schema) {
    return schema?.$ref?.startsWith(NAMED) ? schema.$ref.slice(NAMED.length) : null;
  }

  /** The fields of all parts of an `allOf` as one object. */
  flat(schema) {
    const { allOf, ...own } = this.follow(schema);
    return (allOf ?? []).map((part) => this.flat(part)).reduceRight((whole, part) => ({
      ...part,
      ...whole,
      properties: { ...part.properties, ...whole.properties },
      required: [...(part.required ?? []), ...(whole.required ?? [])],
    }), own);
  }

  /** The alternatives of a schema, without the one that is null. */
  alternatives(schema) {
    const several = schema.oneOf ?? schema.anyOf;
    return several?.filter((one) => one.type !== 'null');
  }

  mayBeNull(schema) {
    const several = schema.oneOf ?? schema.anyOf ?? [];
    return several.some((one) => one.type === 'null') || [schema.type].flat().includes('null');
  }

  /** `string (uuid)`, `list of Version`, `integer or null`. */
  words(schema) {
    const name = this.nameOf(schema);
    const it = this.follow(schema);
    const plain = () => {
      if (name) return [h('a', { href: `#schema/${name}` }, name)];
      if (it.allOf?.length) return this.words(it.allOf[0]);
      if ('const' in it) return [JSON.stringify(it.const)];
      const several = this.alternatives(it);
      if (several) return several.flatMap((one, at) => [at ? ' or ' : '', this.words(one)]);
      const types = [it.type ?? 'any'].flat().filter((type) => type !== 'null');
      if (types[0] === 'array') return ['list of ', this.words(it.items ?? {})];
      const values = it.additionalProperties;
      if (types[0] === 'object' && values && typeof values === 'object') return ['map of ', this.words(values)];
      return [types.join(' or '), it.format && !/^u?int\d+$/.test(it.format) ? ` (${it.format})` : ''];
    };
    return [plain(), this.mayBeNull(it) ? ' or null' : ''];
  }

  /** What its values must keep to, as short notes. */
  notes(schema) {
    const it = this.follow(schema);
    const range = [it.minimum != null && `from ${it.minimum}`, it.maximum < WIDEST && `to ${it.maximum}`].filter(Boolean).join(' ');
    const { default: usual, enum: words, pattern } = it;
    return [
      words && ['one of ', words.flatMap((word, at) => [at ? ' ' : '', h('code', {}, String(word))])],
      range,
      it.minLength != null && `at least ${it.minLength} character${it.minLength === 1 ? '' : 's'}`,
      it.maxLength != null && `at most ${it.maxLength} characters`,
      it.minItems != null && `at least ${it.minItems}`,
      pattern && ['like ', h('code', {}, pattern)],
      usual !== undefined && isTelling(usual) && ['default ', h('code', {}, JSON.stringify(usual))],
    ].filter(Boolean);
  }

  /** The schema as a list of its fields, each of which opens where there is more. */
  tree(schema) {
    const it = this.flat(schema);
    const inside = this.inside(it);
    return h('div', { class: 'schema' }, prose(it.description), inside ?? h('p', {}, this.nameOf(schema) ? this.noteList(it) : this.words(schema)));
  }

  noteList(schema) {
    const notes = this.notes(schema);
    return notes.length > 0 && h('ul', { class: 'notes' }, notes.map((note) => h('li', {}, note)));
  }

  /** The fields, the items' fields or the alternatives; `null` where there is nothing to open. */
  inside(schema) {
    const it = this.flat(schema);
    const fields = Object.entries(it.properties ?? {});
    if (fields.length) {
      const rank = ([name, field]) => (it.required?.includes(name) ? 0 : this.follow(field).readOnly ? 2 : 1);
      const sorted = fields.sort((a, b) => rank(a) - rank(b) || a[0].localeCompare(b[0]));
      return h('dl', { class: 'fields' }, sorted.map(([name, field]) => this.field(name, field, it.required?.includes(name))));
    }
    const several = this.alternatives(it);
    if (several?.length === 1) return this.inside(several[0]);
    if (several?.some((one) => this.inside(one))) {
      return h('div', {}, several.map((one) => h('div', { class: 'alternative' },
        h('p', {}, h('span', { class: 'quiet' }, 'either '), this.words(one)), !this.nameOf(one) && this.inside(one))));
    }
    if (it.items) return this.inside(it.items);
    if (it.additionalProperties && typeof it.additionalProperties === 'object') return this.inside(it.additionalProperties);
    return null;
  }

  field(name, schema, isRequired) {
    const it = this.follow(schema);
    const marks = [isRequired && h('em', { class: 'must' }, 'required'), it.readOnly && h('em', { class: 'quiet' }, 'read only')];
    return [
      h('dt', {}, h('code', {}, name), ' ', h('span', { class: 'type' }, this.words(schema)), ' ', marks),
      h('dd', {}, it.description && h('p', {}, inline(it.description)), this.noteList(schema), this.folded(schema)),
    ];
  }

  /** Made when it is opened: schemas may lead to themselves. */
  folded(schema) {
    if (!this.inside(schema)) return null;
    const details = h('details', {}, h('summary', {}, 'its fields'));
    details.addEventListener('toggle', () => details.append(this.inside(schema)), { once: true });
    return details;
  }

  /** A value that the schema allows: its examples, its defaults, or the simplest. */
  sample(schema, depth = 0) {
    const it = this.flat(schema);
    if (it.example !== undefined) return it.example;
    if (it.examples?.length) return it.examples[0];
    if (it.enum) return it.enum[0];
    if (it.default !== undefined) return it.default;
    const several = this.alternatives(it);
    if (several) return depth > 5 ? null : this.sample(several[0], depth + 1);
    switch ([it.type ?? (it.properties ? 'object' : 'any')].flat()[0]) {
      case 'object': return Object.fromEntries(depth > 5 ? [] : Object.entries(it.properties ?? {}).map(([name, field]) => [name, this.sample(field, depth + 1)]));
      case 'array': return depth > 5 ? [] : [this.sample(it.items, depth + 1)];
      case 'integer': case 'number': return it.minimum ?? 1;
      case 'boolean': return true;
      case 'string': return TEXTS[it.format] ?? 'text';
      default: return null;
    }
  }
}

const TEXTS = { uuid: '01a1fef9-f7a5-7c41-9d3e-5b8f0c2a6e17', 'date-time': '2026-11-21T09:30:00Z' };

/** The fields of an object say their defaults themselves. */
function isTelling(value) {
  return Array.isArray(value) ? value.length > 0 : value !== null && value !== '' && typeof value !== 'object';
}
