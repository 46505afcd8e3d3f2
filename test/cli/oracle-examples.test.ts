/** The examples of docs/oracle.md are files that run, and print what stands there. */

import { readdirSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { linesOf, MISTAKES } from '../../clients/examples/oracle/main.js'
import { withExamples } from '../../tools/examples.js'

const ROOT = resolve(import.meta.dirname, '../..')
const doc = readFileSync(resolve(ROOT, 'docs/oracle.md'), 'utf8')

describe('docs/oracle.md', () => {
  it('shows each example and what it prints', async () => {
    expect(await withExamples(doc)).toBe(doc)
  })

  it('has a section for each example', () => {
    const shown = [...doc.matchAll(/<!-- example ([a-z-]+) -->/g)].map(([, name]) => name)
    expect(shown.toSorted()).toEqual(Object.keys(MISTAKES).toSorted())
    const files = readdirSync(resolve(ROOT, 'clients/examples/oracle')).map((file) => file.replace('.ts', ''))
    expect(files).toEqual(expect.arrayContaining(shown))
  })
})

describe('an example', () => {
  it.each([
    ['unmapped', /^ {2}forgotten +P_IOTLB .*ADDR=0x5000$/m],
    ['asid-reused', /^ {2}or rather +TLBI_NH_ASID VMID=0 ASID=1$/m],
    ['device-tlb', /^ {2}forgotten +ATC_INV SID=0x8 G=0 Size=0 ADDR=0x5000$/m],
    ['not-present', /^ {2}forgotten +PASID cache DID=0 /m],
    ['ste-changed', /^ {2}forgotten +CFGI_STE SID=0x8 /m],
    ['wrong-did', /wrong DID \(3, needed 2\)$/m],
    ['missing-sync', /^ {2}forgotten +SYNC$/m],
    ['leaf-only', /leaf-only over a table change$/m],
    ['break-before-make', /^ {2}reported +.*\(break before make\)$/m],
  ])('%s is named for what it is', async (name, expected) => {
    expect((await linesOf(name)).join('\n')).toMatch(expected)
  })
})
