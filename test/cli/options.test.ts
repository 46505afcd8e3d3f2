/** What a command line may say, what it may not, and that nothing is sent then. */

import { describe, expect, it } from 'vitest'
import { runIn } from './fake.js'

/** The one request that a command line sent. */
async function sentBy(...words: string[]): Promise<Readonly<Record<string, unknown>>> {
  const { exit, err, sent } = await runIn({ files: FILES, input: '{"flags":0}' }, ...words)
  expect({ exit, err }).toEqual({ exit: 0, err: [] })
  return sent[0].request
}

const FILES = {
  'bytes.bin': Uint8Array.of(1, 2, 3),
  'map.json': '{"ioas_id": 3, "flags": "FIXED_IOVA|READABLE", "region": {"regionId": 1, "offset": "0x1000"}}',
}

describe('an option', () => {
  it('reaches into inner messages by dots', async () => {
    const request = await sentBy('ioas-map', '--region.region-id', '2', '--region.offset', '0x1000', '--length', '4096')
    expect(request).toMatchObject({ region: { regionId: 2, offset: 0x1000n }, length: 4096n })
  })

  it('takes an inner message as JSON, hex and big numbers included', async () => {
    const request = await sentBy('ioas-map', '--region', '{"region_id": 2, "offset": 9007199254740993}')
    expect(request).toMatchObject({ region: { regionId: 2, offset: 9007199254740993n } })
  })

  it.each([
    ['7', 7],
    ['0x5', 5],
    ['READABLE|WRITEABLE', 6],
    ['fixed-iova,readable', 5],
    ['IOAS_MAP_FLAG_READABLE', 4],
  ])('takes the flags %s', async (word, flags) => {
    expect((await sentBy('ioas-map', '--flags', word))['flags']).toBe(flags)
  })

  it('takes rights as letters, a fetch being a read too', async () => {
    expect((await sentBy('translate', '--access', 'rw'))['access']).toBe(3)
    expect((await sentBy('translate', '--access', 'x'))['access']).toBe(5)
    const { accesses } = await sentBy('translate', '--accesses', 'r,w', '--accesses', 'READ|WRITE')
    expect([...(accesses as Uint32Array)]).toEqual([1, 2, 3])
  })

  it('tells an absent PASID from PASID 0', async () => {
    expect((await sentBy('translate'))['pasid']).toBeUndefined()
    expect((await sentBy('translate', '--pasid', '0'))['pasid']).toBe(0)
  })

  it('is true without a value where it is a bool', async () => {
    expect((await sentBy('create-memory-region', '--file.writable'))['file']).toMatchObject({ writable: true })
    expect((await sentBy('create-memory-region', '--file.writable', 'no'))['file']).toMatchObject({ writable: false })
  })

  it('takes bytes from a file', async () => {
    expect((await sentBy('write-handle', '--data', '@bytes.bin'))['data']).toEqual(Uint8Array.of(1, 2, 3))
  })

  it('takes lists of messages as JSON, bytes as base64 or hex:', async () => {
    const patches = '[{"regionId":1,"offset":"0x10","data":"hex:00ff"},{"regionId":1,"data":"AQI="}]'
    const request = await sentBy('write-memory', '--patches', patches)
    expect(request['patches']).toEqual([
      { regionId: 1, offset: 16n, data: Uint8Array.of(0, 255) },
      { regionId: 1, offset: 0n, data: Uint8Array.of(1, 2) },
    ])
  })

  it('takes a list where a message holds nothing else, so that an empty one can probe', async () => {
    const entries = '[{"addr":"0x1000","npages":"1","flags":"LEAF"}]'
    const whole = await sentBy('invalidate-iotlb', '--user-domain-id', '4', '--vtd-s1', entries)
    expect(whole).toMatchObject({ userDomainId: 4, vtdS1: { entries: [{ addr: 0x1000n, npages: 1n, flags: 1 }] } })
    expect(await sentBy('invalidate-iotlb', '--vtd-s1.entries', entries)).toMatchObject({ vtdS1: whole['vtdS1'] })
    expect(await sentBy('invalidate-iotlb', '--vtd-s1', '[]')).toMatchObject({ vtdS1: { entries: [] } })
  })
})

describe('bytes', () => {
  it('are hex digits after 0x, or after hex: as in JSON', async () => {
    expect(await sentBy('write-handle', '--data', '0x00ff')).toMatchObject({ data: Uint8Array.of(0, 255) })
    expect(await sentBy('write-handle', '--data', 'hex:00ff')).toMatchObject({ data: Uint8Array.of(0, 255) })
  })
})

describe('--request', () => {
  it('takes JSON, a file, or standard input', async () => {
    expect(await sentBy('create-viommu', '--request', '{"type":"ARM_SMMUV3","deviceId":7}')).toMatchObject({
      type: 1,
      deviceId: 7,
    })
    expect(await sentBy('ioas-map', '--request', '@map.json')).toMatchObject({
      ioasId: 3,
      flags: 5,
      region: { regionId: 1, offset: 0x1000n },
    })
    expect(await sentBy('create-ioas', '--request', '-')).toMatchObject({ flags: 0, context: 'fake-token' })
  })

  it('keeps a token of its own', async () => {
    expect((await sentBy('create-ioas', '--request', '{"context":"other"}'))['context']).toBe('other')
  })
})

describe('bad usage', () => {
  it.each([
    [['create-ioas', '--flags', '4294967296'], '--flags: 4294967296 is not in 0 to 4294967295'],
    [['create-ioas', '--flags', '-1'], '--flags: -1 is not in 0 to 4294967295'],
    [['create-ioas', '--flags', '1', '--flags', '2'], '--flags: given twice'],
    [['ioas-map', '--length', '1e3'], "--length: '1e3' is no number"],
    [['ioas-map', '--length', '18446744073709551616'], 'is not in 0 to 18446744073709551615'],
    [['ioas-map', '--flags', 'EXECUTABLE'], "'EXECUTABLE' is none of FIXED_IOVA, WRITEABLE, READABLE"],
    [['ioas-map', '--user-va', '1', '--region.region-id', '1'], '`source` is set already'],
    [['ioas-map', '--region', '{"regionId":1}', '--region.region-id', '1'], 'given twice'],
    [['ioas-map', '--region', '{"nope":1}'], "RegionOffset has no field 'nope'"],
    [['ioas-map', '--region', '[1]'], 'an object with the fields of RegionOffset is wanted, not a list'],
    [['ioas-map', '--region', '{'], 'no JSON'],
    [['create-viommu', '--type', 'nope'], "'nope' is none of ARM_SMMUV3, TEGRA241_CMDQV"],
    [['write-handle', '--data', '0x123'], 'neither 0x and pairs of hex digits nor @FILE'],
    [['write-handle', '--data', '@nowhere'], 'cannot read nowhere'],
    [['write-memory', '--patches', '[{"data":"0x1234"}]'], 'in JSON bytes are base64 or "hex:…"'],
    [['write-memory', '--patches', '[{"data":"?"}]'], 'is no base64'],
    [['create-memory-region', '--file.writable', 'perhaps'], 'is neither true nor false'],
    [['create-ioas', '--request', '{}', '--flags', '0'], 'give either --request or --flags'],
    [['create-ioas', '--timeout', 'soon'], "--timeout: 'soon' is no number of milliseconds"],
    [['create-ioas', '--tcp', 'host'], '--tcp needs --token-file'],
    [['create-ioas', '--tcp', 'host:99999', '--token-file', 'bytes.bin'], "'host:99999' is not HOST:PORT"],
    [['explain', '--iova', '1'], '--device-id names the device'],
    [['explain', '--unit-id', '1', '--iova', '1'], '--unit-id and --source-id go together'],
    [['create-ioas', '--nope'], "unknown option '--nope'"],
    [['nope'], "unknown command 'nope'"],
    [['create-ioas', 'more'], 'too many arguments'],
  ])('%j is refused with a sentence, and nothing is sent', async (words, sentence) => {
    const { exit, out, err, sent } = await runIn({ files: FILES }, ...words)
    expect(err.join('\n')).toContain(sentence)
    expect({ exit, out, sent }).toEqual({ exit: 2, out: [], sent: [] })
  })

  it('is a verb without a context, unless an empty one is given on purpose', async () => {
    const { exit, err, sent } = await runIn({ environment: {} }, 'create-ioas')
    expect({ exit, sent }).toEqual({ exit: 2, sent: [] })
    expect(err[0]).toContain('export IOMMUD_CONTEXT=$(iommuctl open)')
    expect((await runIn({ environment: {} }, 'create-ioas', '--context', '')).sent[0].request['context']).toBe('')
  })
})

describe('the daemon is looked for', () => {
  it('at --socket, else IOMMUD_SOCKET, else at the default places', async () => {
    const environment = { IOMMUD_SOCKET: '/env' }
    expect((await runIn({ environment }, 'info', '--socket', '/flag')).connected).toEqual([{ socketPath: '/flag' }])
    expect((await runIn({ environment }, 'info')).connected).toEqual([{ socketPath: '/env' }])
    expect((await runIn({ environment: {} }, 'info')).connected).toEqual([{}])
  })

  it('at --tcp with the token of a file', async () => {
    const files = { token: ' secret\n' }
    const { connected } = await runIn({ files }, 'info', '--tcp', '[::1]:8080', '--token-file', 'token')
    expect(connected).toEqual([{ tcp: { host: '::1', port: 8080, token: 'secret' } }])
  })
})
