/** How names of the contract are spelled on a command line. */

import { enumValues } from '../../proto/codec.js'

/** `CreateIoas` as `create-ioas`. */
export const verbOf = (method: string): string => method.replace(/(?<=[a-z0-9])(?=[A-Z])/g, '-').toLowerCase()

/** `ioas_id` as `ioas-id`. */
export const optionOf = (protoName: string): string => protoName.replaceAll('_', '-')

/** An enum's values by their short names, without the enum's own name before them; `UNSPECIFIED` among them. */
export function shortNames(enumName: string): ReadonlyMap<string, number> {
  const values = Object.entries(enumValues(enumName))
  const zero = values.find(([name]) => name.endsWith('UNSPECIFIED'))?.[0] ?? ''
  const prefix = zero.slice(0, -'UNSPECIFIED'.length)
  return new Map(values.map(([name, value]) => [name.startsWith(prefix) ? name.slice(prefix.length) : name, value]))
}

/** The value of an enum's name, short or whole, in either case, with `-` or `_`; undefined for others. */
export function valueOfName(enumName: string, given: string): number | undefined {
  const name = given.toUpperCase().replaceAll('-', '_')
  return shortNames(enumName).get(name) ?? enumValues(enumName)[name]
}

/** The short name of an enum's value; a number that has none as it is. */
export const nameOfValue = (enumName: string, value: number): string =>
  [...shortNames(enumName)].find(([, known]) => known === value)?.[0] ?? String(value)

/** The names of an enum that a caller may give. */
export const namesOf = (enumName: string): string[] =>
  [...shortNames(enumName)].filter(([, value]) => value !== 0).map(([name]) => name)
