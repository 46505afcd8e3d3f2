/**
 * Every "no" of the source: the errno and the sentence of each place where a refusal is made. Reads the text alone; what
 * a sentence takes from its place is shown as ‹its name›.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'

/** A place where a refusal is made. */
export interface SourceRefusal {
  /** From the repository's folder. */
  readonly file: string
  readonly errnos: readonly string[]
  /** Each sentence that it may carry. */
  readonly reasons: readonly string[]
}

/** A refusal, or an error of the transports; a regular expression's `lastIndex` is where the arguments begin. */
const MADE = /\b(?:new Refusal|refused)\(/g

/** Refusals of every file in some folders, file by file. */
export function refusalsIn(root: string, folders: readonly string[]): readonly SourceRefusal[] {
  const files = folders.flatMap((folder) =>
    (readdirSync(join(root, folder), { recursive: true }) as string[])
      .filter((name) => name.endsWith('.ts'))
      .sort()
      .map((name) => join(root, folder, name)),
  )
  return files.flatMap((file) => refusalsOf(relative(root, file), readFileSync(file, 'utf8')))
}

/** Refusals of one file's text. */
export function refusalsOf(file: string, text: string): readonly SourceRefusal[] {
  return [...text.matchAll(MADE)].flatMap((match) => {
    const at = match.index + match[0].length
    const [name = '', reason = ''] = argumentsAt(text, at)
    const errnos = [...name.matchAll(/'(E[A-Z0-9]+)'/g)].map(([, errno]) => errno)
    const reasons = sentencesOf(reason, text.slice(0, at)).filter((sentence) => /[a-z]{2,}.* /i.test(bare(sentence)))
    return errnos.length === 0 || reasons.length === 0 ? [] : [{ file, errnos, reasons: [...new Set(reasons)] }]
  })
}

const bare = (sentence: string): string => sentence.replaceAll(/‹[^›]*›/g, '')

/** Arguments of a call, as text, from behind its parenthesis. */
function argumentsAt(text: string, from: number): readonly string[] {
  const end = closing(text, from)
  return split(text.slice(from, end), ',')
}

/** Sentences that an expression may be. @param before what stands before it, where its names are declared */
function sentencesOf(expression: string, before: string): readonly string[] {
  const text = expression.trim()
  const [condition, ...ways] = split(text, '?')
  if (ways.length > 0 && !text.startsWith('(')) {
    const [yes, ...no] = split(ways.join('?'), ':')
    if (no.length > 0 && condition !== '') return [yes, no.join(':')].flatMap((way) => sentencesOf(way, before))
  }
  const parts = split(text, '+')
  if (parts.length > 1) return parts.map((part) => sentencesOf(part, before)).reduce(joined)
  if (/^(['"])/.test(text)) return [text.slice(1, -1).replaceAll(/\\(.)/g, '$1')]
  if (text.startsWith('`')) return [template(text.slice(1, -1))]
  if (/^[a-zA-Z]+$/.test(text)) {
    const declared = before.lastIndexOf(`const ${text} =`)
    if (declared >= 0)
      return sentencesOf(initializer(before, declared + `const ${text} =`.length), before.slice(0, declared))
  }
  return [`‹${nameOf(text)}›`]
}

const joined = (some: readonly string[], others: readonly string[]): readonly string[] =>
  some.flatMap((one) => others.map((other) => one + other))

/** What stands behind an equals sign, up to the end of the statement. */
function initializer(text: string, from: number): string {
  let end = from
  for (;;) {
    const next = skip(text, end)
    if (text[end] === '\n' && !/^\s*[?:+.]/.test(text.slice(end)) && text.slice(from, end).trim() !== '') {
      if (!/[=+?:]\s*$/.test(text.slice(from, end))) return text.slice(from, end)
    }
    if (next >= text.length) return text.slice(from)
    end = next
  }
}

/** A template's text, with each hole under its name. */
function template(text: string): string {
  let told = ''
  for (let at = 0; at < text.length; ) {
    if (text.startsWith('${', at)) {
      const end = closing(text, at + 2)
      told += `‹${nameOf(text.slice(at + 2, end))}›`
      at = end + 1
    } else told += text[at++]
  }
  return told
}

/** How a hole is called: by the last name in it that is no function's. */
function nameOf(expression: string): string {
  const plain = expression.replaceAll(/'[^']*'|"[^"]*"|`[^`]*`/g, '')
  const names = [...plain.matchAll(/[a-zA-Z_][a-zA-Z0-9_]*(?!\w|\()/g)].map(([name]) => name)
  const word = names.filter((name) => !['this', 'undefined', 'length', 'n', 'call'].includes(name)).at(-1)
  return (word ?? '…')
    .replaceAll(/([a-z])([A-Z])/g, (_, low, high) => `${low} ${high.toLowerCase()}`)
    .replaceAll('_', ' ')
}

/** Index of the bracket that closes what is open at `from`. */
function closing(text: string, from: number): number {
  let at = from
  while (at < text.length && !')]}'.includes(text[at])) at = skip(text, at)
  return at
}

/** Parts of a text between separators that stand in no bracket and no string. */
function split(text: string, separator: string): readonly string[] {
  const parts: string[] = []
  let from = 0
  for (let at = 0; at < text.length; at = skip(text, at)) {
    const isOne = text[at] === separator && !'?.'.includes(text[at + 1] ?? ' ') && text[at - 1] !== separator
    if (!isOne) continue
    parts.push(text.slice(from, at))
    from = at + 1
  }
  return [...parts, text.slice(from)]
}

/** The index behind the character, string, template or bracket at `at`. */
function skip(text: string, at: number): number {
  const char = text[at]
  if ('([{'.includes(char)) return closing(text, at + 1) + 1
  if (char === '`') {
    let end = at + 1
    while (end < text.length && text[end] !== '`')
      end = text.startsWith('${', end) ? closing(text, end + 2) + 1 : end + 1
    return end + 1
  }
  if (char === "'" || char === '"') {
    let end = at + 1
    while (end < text.length && text[end] !== char && text[end] !== '\n') end += text[end] === '\\' ? 2 : 1
    return end + 1
  }
  return at + 1
}
