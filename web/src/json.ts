// JSON objects, read strictly: two readers must never see two things in one text.

/** A JSON object: its fields by name. */
export type JsonObject = { [name: string]: unknown };

/** The deepest nesting that is read. */
const DEEPEST = 127;

/**
 * The object that `text` is. `undefined` if it is anything else, if a name stands twice in one object at any depth, or if a
 * string is not Unicode (a lone `\ud800`).
 *
 * A number that is not written as plain digits below 2^53 comes as a `Number` object, so `typeof` tells integers apart from
 * it: the protocol's integers have one spelling.
 */
export function parseObject(text: string | undefined): JsonObject | undefined {
  try {
    // It checks the grammar; what it gives would hide names that stand twice, and how numbers are written.
    JSON.parse(text ?? '');
    const tokens = text?.match(/"[^"\\]*(?:\\.[^"\\]*)*"|[[\]{}]|[^\s,:"[\]{}]+/g) ?? [];
    return tokens[0] === '{' ? (read(tokens.reverse(), 0) as JsonObject) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a field's value is an object: no list, and not null. */
export function isObject(value: unknown): value is JsonObject {
  return value instanceof Object && !Array.isArray(value) && !(value instanceof Number);
}

/** A field's value, if it is text. */
export function string(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

/** A field's value, if it is one of the protocol's integers. */
export function integer(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}

/** Fields or a list, once each value was read: it counts as a whole, or not at all if one of them could not be. */
export function whole<const T extends object>(
  values: T,
): { [K in keyof T]: Exclude<T[K], undefined> } | undefined {
  return Object.values(values).includes(undefined)
    ? undefined
    : (values as { [K in keyof T]: Exclude<T[K], undefined> });
}

/** The next value of valid JSON, which is cut into tokens. Throws at what is refused; `undefined` for an end. */
function read(tokens: string[], depth: number): unknown {
  const token = tokens.pop() ?? '';
  if (depth > DEEPEST) {
    throw token;
  }
  if (token === ']' || token === '}') {
    return undefined;
  }
  if (token === '[' || token === '{') {
    const values = new Map<unknown, unknown>();
    for (let next = read(tokens, depth + 1); next !== undefined; next = read(tokens, depth + 1)) {
      const name = token === '[' ? values.size : next;
      if (values.has(name)) {
        throw name;
      }
      values.set(name, token === '[' ? next : read(tokens, depth + 1));
    }
    return token === '[' ? [...values.values()] : Object.fromEntries(values);
  }
  const value: unknown = JSON.parse(token);
  if (typeof value === 'number' ? !Number.isFinite(value) : /\p{Cs}/u.test(String(value))) {
    throw token;
  }
  return typeof value !== 'number' || (/^\d+$/.test(token) && Number.isSafeInteger(value))
    ? value
    : Object(value);
}
