/** docs/errors.md says what the daemon says. */

import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { METHODS } from '../proto/generated/methods.js'
import { ERRNO } from '../server/core/errno.js'
import { errorsText } from '../tools/errors.js'
import { refusalsIn, refusalsOf } from '../tools/refusals.js'

const ROOT = resolve(import.meta.dirname, '..')
const written = readFileSync(resolve(ROOT, 'docs/errors.md'), 'utf8')

describe('docs/errors.md', () => {
  it('is what `npm run generate` writes', () => {
    expect(errorsText(ROOT)).toBe(written)
  })

  it('has every errno with its meaning, and every method of the contract', () => {
    for (const [name, number] of Object.entries(ERRNO)) {
      expect(written).toMatch(new RegExp(`^\\| ${name} \\| ${number} \\| [A-Z][^|]+\\. \\| [a-z_]+ \\| \\d+ \\|$`, 'm'))
    }
    for (const name of Object.keys(METHODS)) expect(written).toContain(`| \`${name}\` |`)
  })

  it('has nearly every place where a refusal is made: what it leaves out passes on another’s sentence', () => {
    const made = ['core', 'uapi', 'drivers'].flatMap((folder) => refusalsIn(ROOT, [`server/${folder}`]))
    expect(made.length).toBeGreaterThan(300)
    for (const { file, errnos } of made) expect([file, errnos.filter((name) => !(name in ERRNO))]).toEqual([file, []])
  })
})

describe('the reader of refusals', () => {
  /** Holes of templates are written with a number sign here. */
  const read = (text: string) =>
    refusalsOf('a.ts', text.replaceAll('#{', '${')).map(({ errnos, reasons }) => [...errnos, ...reasons])

  it('reads strings, templates and what is put together', () => {
    expect(read("throw new Refusal('EINVAL', 'it’s wrong', { a })")).toEqual([['EINVAL', 'it’s wrong']])
    expect(read("new Refusal('EBUSY', `range #{hexRange(area)} of IOAS #{ioas.id} is #{area.busy}`)")).toEqual([
      ['EBUSY', 'range ‹area› of IOAS ‹id› is ‹busy›'],
    ])
    expect(read("refused('EIO', 'one, ' +\n  'two and ' + `three #{x.join(', ')}`)")).toEqual([
      ['EIO', 'one, two and three ‹x›'],
    ])
  })

  it('reads every way of a choice', () => {
    expect(read("new Refusal(a ? 'EIO' : 'EPERM', b ?? c ? 'the one way' : `the #{other} way`)")).toEqual([
      ['EIO', 'EPERM', 'the one way', 'the ‹other› way'],
    ])
  })

  it('follows a name to where it is declared last before it', () => {
    const text =
      "const why = 'not this one'\nconst why =\n  a\n    ? 'an early way'\n    : 'a late way'\nnew Refusal('EIO', why)"
    expect(read(text)).toEqual([['EIO', 'an early way', 'a late way']])
  })

  it('leaves out what says nothing itself', () => {
    expect(read('new Refusal(error.name, error.message)')).toEqual([])
    expect(read("new Refusal('EIO', `#{a}: #{b}`)")).toEqual([])
  })
})
