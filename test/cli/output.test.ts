/** What people and programs read, and the exit statuses. */

import { describe, expect, it } from 'vitest'
import { runIn } from './fake.js'

const REFUSED = {
  status: 400,
  code: 'failed_precondition',
  detail: { errno: 16, name: 'EBUSY', reason: 'the slot is occupied', context: { device: '3' } },
}

describe('open', () => {
  it('prints the token alone, of a context that outlives the command', async () => {
    const { out, sent } = await runIn({ reply: { context: 'abc', bootId: 'b' } }, 'open')
    expect(out).toEqual(['abc'])
    expect(sent[0].request['lifetime']).toBe(3)
  })

  it('takes another lifetime, and prints the whole reply with --json', async () => {
    const { out, sent } = await runIn(
      { reply: { context: 'abc', leaseMs: 5 } },
      'open',
      '--lifetime',
      'lease',
      '--json',
    )
    expect(out).toEqual(['{"context":"abc","leaseMs":5}'])
    expect(sent[0].request['lifetime']).toBe(2)
  })
})

describe('a reply for people', () => {
  it('is keys and values, addresses in hex', async () => {
    const reply = { viommuId: 5, mmapOffset: 0x10000n, mmapLength: 4096n }
    const { out } = await runIn({ reply }, 'create-viommu')
    expect(out).toEqual(['viommu-id    5', 'mmap-offset  0x10000', 'mmap-length  4096'])
  })

  it('says done when there is nothing to tell', async () => {
    expect((await runIn({}, 'detach-rid')).out).toEqual(['done'])
  })

  it('is a table for a list, without columns that say nothing', async () => {
    const devices = [
      { name: '0000:00:01.0', unitName: 'smmu0', sourceId: 8, pasidBits: 20, ats: true, bound: true, deviceId: 3 },
      { name: '0000:00:02.0', unitName: 'smmu0', sourceId: 16 },
    ]
    expect((await runIn({ reply: { devices } }, 'list-devices')).out).toEqual([
      'devices:',
      '  name          unit-name  source-id  pasid-bits  ats  pri  parent-pasid  bound  device-id',
      '  0000:00:01.0  smmu0            0x8          20  yes  no              0  yes            3',
      '  0000:00:02.0  smmu0           0x10           0  no   no              0  no             0',
    ])
    expect((await runIn({}, 'list-devices')).out).toEqual(['no devices'])
  })

  it('is the pages that were written, for a dirty bitmap', async () => {
    const bitmap = Uint8Array.of(0x06, 0x80)
    const words = ['get-dirty-bitmap', '--iova', '0x10000', '--length', '0x10000', '--page-size', '4096']
    expect((await runIn({ reply: { bitmap } }, ...words)).out).toEqual([
      'bitmap  0x0680',
      'dirty   3 of 16 pages, 0x11000-0x12fff, 0x1f000-0x1ffff',
    ])
    const scattered = { reply: { bitmap: new Uint8Array(8).fill(0x55) } }
    const { out } = await runIn(scattered, 'get-dirty-bitmap', '--length', '0x40000', '--page-size', '0x1000')
    expect(out.at(-1)).toMatch(/^dirty {3}32 of 64 pages, 0x0-0xfff, .*, 0x1e000-0x1efff, 16 more ranges$/)
  })

  it('is the pages that were written, for runs of them', async () => {
    const reply = { runFirsts: [0x11000n, 0x1f000n], runLasts: [0x12fffn, 0x1ffffn], nextIova: 0x20000n }
    const words = ['get-dirty-bitmap', '--as-runs', '--iova', '0x10000', '--length', '0x100000', '--page-size', '4096']
    expect((await runIn({ reply }, ...words)).out).toEqual([
      'run-firsts  0x11000, 0x1f000',
      'run-lasts   0x12fff, 0x1ffff',
      'next-iova   0x20000',
      'dirty   3 of 256 pages, 0x11000-0x12fff, 0x1f000-0x1ffff',
    ])
  })

  it('shows a fact that is empty as one', async () => {
    const objects = [{ id: 1, type: 4, facts: { flags: '', auto: 'false' } }]
    expect((await runIn({ reply: { objects } }, 'list-objects')).out.at(-1)).toContain('flags -, auto false')
  })

  it('is the errno and the struct for an ioctl, and status 1 if it failed', async () => {
    const refusal = { errno: 2, name: 'ENOENT', reason: 'nothing is there', context: {} }
    const failed = await runIn({ reply: { errno: 2, result: -1n, refusal } }, 'ioctl', '--cmd', '0x3b80')
    expect([failed.exit, failed.out]).toEqual([1, expect.arrayContaining(['refusal.reason  nothing is there'])])
    expect((await runIn({ reply: {} }, 'ioctl', '--cmd', '0x3b80')).exit).toBe(0)
    expect((await runIn({ reply: { errno: 2, result: -1n } }, 'ioctl', '--cmd', '1', '--json')).exit).toBe(1)
  })

  it('is a row per element for the dense arrays of Translate', async () => {
    const reply = {
      outcomes: [1, 2],
      regionIds: [1, 0],
      offsets: [0x2000n, 0n],
      pageSizeLog2s: [12, 0],
      permissions: [3, 0],
      faultCodes: [0, 0x10],
      cacheHits: [1, 0],
      faults: [{ index: 1, code: 0x10, name: 'F_TRANSLATION', reason: 'no entry', iova: 0x9000n, access: 2, stage: 1 }],
      doneCount: 2,
    }
    const { out } = await runIn({ reply }, 'translate', '--iovas', '0x8000,0x9000')
    expect(out).toEqual([
      '#    iova  outcome  region-id  offset  page-size-log2  permission  fault-code  cache-hit  fault',
      '0  0x8000  OK               1  0x2000              12  READ|WRITE         0x0          1',
      '1  0x9000  FAULT            0     0x0               0  0                 0x10          0  F_TRANSLATION',
      '',
      'done-count  2',
      '',
      'faults:',
      '  index  code  name           reason      iova  access  stage  recorded',
      '      1  0x10  F_TRANSLATION  no entry  0x9000  WRITE       1  no',
    ])
  })

  it('shows bits without a name in hex, and values without one as numbers', async () => {
    const { out } = await runIn({ reply: { type: 9, capabilities: 0x101n } }, 'get-hw-info')
    expect(out).toContain('type               9')
    expect(out).toContain('capabilities       DIRTY_TRACKING|0x100')
  })

  it('dumps long bytes', async () => {
    const data = Uint8Array.from({ length: 40 }, (_, i) => i)
    const { out } = await runIn({ reply: { data: [data], doneCount: 1 } }, 'read-memory')
    expect(out).toContain('data: 40 bytes')
    expect(out).toContain('  000010  10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f')
  })

  it('names the columns of a batch after one of their elements', async () => {
    const reply = { statuses: [1, 2], addresses: [0x1000n, 0n], permissions: [3, 0], doneCount: 2 }
    const { out } = await runIn({ reply }, 'request-translations', '--iovas', '0x5000,0x6000')
    expect(out.slice(0, 3).map((line) => line.trim().split(/\s+/))).toEqual([
      ['#', 'iova', 'status', 'address', 'permission'],
      ['0', '0x5000', 'SUCCESS', '0x1000', 'READ|WRITE'],
      ['1', '0x6000', 'UNSUPPORTED_REQUEST', '0x0', '0'],
    ])
  })

  it('lets nobody move the cursor', async () => {
    const reply = { contexts: [{ contextNumber: 1n, label: 'a\u001b[2Jb' }] }
    expect((await runIn({ reply }, 'list-contexts')).out.join('\n')).toContain('a\\x1b[2Jb')
  })
})

describe('--json', () => {
  it('keeps 64-bit values exact', async () => {
    const { out } = await runIn({ reply: { iova: 2n ** 64n - 1n } }, '--json', 'ioas-map')
    expect(out).toEqual(['{"iova":"18446744073709551615"}'])
  })

  it('prints a refusal as one line, with exit status 1', async () => {
    const { exit, out, err } = await runIn({ refuse: REFUSED }, 'attach-rid', '--json')
    expect({ exit, err }).toEqual({ exit: 1, err: [] })
    expect(out.map((line) => JSON.parse(line))).toEqual([
      {
        error: {
          code: 'failed_precondition',
          errno: 16,
          name: 'EBUSY',
          reason: 'the slot is occupied',
          context: { device: '3' },
          partial: null,
        },
      },
    ])
  })

  it('prints what was done before a refusal', async () => {
    const refusal = { errno: 22, name: 'EINVAL', reason: 'misaligned', context: { index: '1' } }
    const { exit, out } = await runIn({ reply: { doneCount: 1, refusal } }, 'invalidate-iotlb', '--json')
    expect(exit).toBe(1)
    expect(JSON.parse(out[0]).error).toMatchObject({ code: 'partial', name: 'EINVAL', partial: { doneCount: 1 } })
  })
})

describe('a refusal for people', () => {
  it('is one line on standard error', async () => {
    const { exit, out, err } = await runIn({ refuse: REFUSED }, 'attach-rid')
    expect({ exit, out, err }).toEqual({
      exit: 1,
      out: [],
      err: ['attach-rid: EBUSY: the slot is occupied (device 3)'],
    })
  })

  it('comes after what was done before it', async () => {
    const refusal = { errno: 22, name: 'EINVAL', reason: 'misaligned', context: { index: '1' } }
    const { exit, out, err } = await runIn({ reply: { doneCount: 1, refusal } }, 'invalidate-iotlb')
    expect({ exit, out, err }).toEqual({
      exit: 1,
      out: ['done-count  1'],
      err: ['invalidate-iotlb: EINVAL: misaligned (index 1)'],
    })
  })
})

describe('a daemon that is not there', () => {
  it('is exit status 3, on standard error or as JSON', async () => {
    const people = await runIn({ unreachable: true }, 'create-ioas')
    expect(people).toMatchObject({ exit: 3, out: [], closed: 1 })
    expect(people.err[0]).toMatch(/^create-ioas: no answer from the daemon/)
    const json = await runIn({ unreachable: true }, 'create-ioas', '--json')
    expect(json).toMatchObject({ exit: 3, err: [] })
    expect(JSON.parse(json.out[0]).error).toMatchObject({ code: 'unavailable', partial: null })
  })
})

describe('healthcheck', () => {
  it('is 0 and one line for a daemon that answers', async () => {
    const reply = { version: '0.1.0', bootId: 'b00t', uptimeMs: 12n }
    const { exit, out, err } = await runIn({ reply, environment: {} }, 'healthcheck')
    expect({ exit, out, err }).toEqual({ exit: 0, out: ['healthy: iommud 0.1.0, boot b00t, up 12 ms'], err: [] })
  })

  it('is 1 and one line for one that is not there, refuses or hangs', async () => {
    for (const world of [{ unreachable: true }, { refuse: REFUSED }, { silentOn: ['GetServerInfo'] }]) {
      const { exit, out, err } = await runIn(world, 'healthcheck', '--timeout', '20')
      expect({ exit, lines: out.length, err }).toEqual({ exit: 1, lines: 1, err: [] })
      expect(out[0]).toMatch(/^not healthy: /)
    }
  })
})

describe('--help', () => {
  it('lists exit statuses, the services and every method', async () => {
    const { exit, out, err } = await runIn({}, '--help')
    const text = out.join('\n')
    expect({ exit, err }).toEqual({ exit: 0, err: [] })
    expect(text).toMatch(/0 {2}done[\s\S]*1 {2}the daemon refused[\s\S]*2 {2}bad usage[\s\S]*3 {2}the daemon was not/)
    for (const word of ['IommuService', 'create-user-domain', 'open-context|open', 'healthcheck', 'capture', 'demo']) {
      expect(text).toContain(word)
    }
  })

  it('of a verb has its comment and its options', async () => {
    const text = (await runIn({}, 'ioas-map', '--help')).out.join('\n')
    expect(text).toContain('IOMMU_IOAS_MAP: maps memory of a region')
    expect(text).toMatch(/--region\.region-id <number>/)
    expect(text).toContain('FIXED_IOVA|WRITEABLE|READABLE')
  })
})

describe('--timeout', () => {
  it('goes with the call', async () => {
    expect((await runIn({}, 'create-ioas', '--timeout', '250')).sent[0].timeoutMs).toBe(250)
  })
})
