import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { GENERATED, generate } from '../../tools/generate.js'
import { ROOT } from '../../tools/generate-image.js'

describe('the generated files', () => {
  it('are what the contract generates today; otherwise run `npm run generate`', () => {
    const fresh = generate()
    expect(readdirSync(GENERATED).sort()).toEqual([...fresh.keys()].sort())
    for (const [name, text] of fresh) {
      const same = readFileSync(join(GENERATED, name), 'utf8') === text
      expect(same, `${name} is up to date`).toBe(true)
    }
  })
})

describe('the contract', () => {
  it('passes buf lint and is formatted as buf formats it', () => {
    const buf = (...args: string[]): string =>
      execFileSync(join(ROOT, 'node_modules', '.bin', 'buf'), args, { cwd: ROOT }).toString()
    expect(buf('lint')).toBe('')
    expect(buf('format', '--diff')).toBe('')
  })
})
