/** README is true: its table of methods is the daemon's, and its links lead somewhere. */

import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { withMethods } from '../tools/readme.js'

const ROOT = resolve(import.meta.dirname, '..')
const readme = readFileSync(resolve(ROOT, 'README.md'), 'utf8')

describe('README', () => {
  it('has the table of methods that `npm run generate` writes', () => {
    expect(withMethods(readme)).toBe(readme)
  })

  it('links only to what is there', () => {
    const links = [...readme.matchAll(/\]\(([^)#]+)\)/g)].map((match) => match[1])
    expect(links.length).toBeGreaterThan(2)
    expect(links.filter((link) => !existsSync(resolve(ROOT, link)))).toEqual([])
  })

  it('names only scripts and folders that exist', () => {
    const { scripts } = JSON.parse(readFileSync(resolve(ROOT, 'package.json'), 'utf8')) as { scripts: object }
    const used = [...readme.matchAll(/npm (?:run ([a-z:]+)|(start|test))/g)].map((match) => match[1] ?? match[2])
    expect(used.filter((name) => !(name in scripts))).toEqual([])
    const folders = [...readme.matchAll(/^\| `([a-z-]+)\/` \|/gm)].map((match) => match[1])
    expect(folders.length).toBeGreaterThan(4)
    expect(folders.filter((folder) => !existsSync(resolve(ROOT, folder)))).toEqual([])
  })
})
