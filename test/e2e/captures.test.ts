/**
 * `iommuctl capture verify` as its users run it: on every capture of the checkout, and on every capture of the folder
 * that `IOMMUD_CAPTURES` names.
 */

import { spawn } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'

const ROOT = resolve(import.meta.dirname, '../..')
const IOMMUCTL = join(ROOT, 'dist/clients/cli/main.js')
const FIXTURES = join(ROOT, 'test/fixtures/captures')

interface Tally {
  readonly matched: number
  readonly mismatched: number
  readonly skipped: number
}

type Summary = Tally & { readonly translations: number; readonly userDomain: Tally }

/** Folders that hold a capture: the given one, or those inside it. */
function capturesIn(folder: string): string[] {
  if (existsSync(join(folder, 'capture.json'))) return [folder]
  const inside = readdirSync(folder).map((name) => join(folder, name))
  return inside.filter((path) => statSync(path).isDirectory() && existsSync(join(path, 'capture.json'))).sort()
}

/** Runs the command; answers its exit status and its last line. */
function verify(folder: string): Promise<{ status: number | null; last: string }> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [IOMMUCTL, 'capture', 'verify', folder, '--json'], { stdio: 'pipe' })
    let output = ''
    child.stdout.on('data', (chunk) => (output += chunk))
    child.stderr.on('data', (chunk) => (output += chunk))
    child.on('close', (status) => done({ status, last: output.trimEnd().split('\n').at(-1) ?? '' }))
  })
}

const given = process.env['IOMMUD_CAPTURES']
const folders = [...capturesIn(FIXTURES), ...(given === undefined || given === '' ? [] : capturesIn(given))]

describe('capture verify', () => {
  it('has the three captures of the checkout to verify', () => {
    expect(capturesIn(FIXTURES).length).toBe(3)
  })

  it.each(folders)('matches every row of %s', { timeout: 300_000 }, async (folder) => {
    const { status, last } = await verify(folder)
    expect(status, last).toBe(0)
    const summary = JSON.parse(last) as Summary
    expect(summary.translations).toBeGreaterThan(0)
    expect(summary).toMatchObject({ matched: summary.translations, mismatched: 0, skipped: 0 })
    const { matched, mismatched, skipped } = summary.userDomain
    expect(mismatched).toBe(0)
    // Captures with a second stage run on the raw unit alone; of the others nearly every row reaches a page table.
    if (matched + skipped > 0) expect(matched).toBeGreaterThan(summary.translations * 0.9)
  })
})
