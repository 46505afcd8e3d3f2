/** Configuration: which source wins, and what is refused. */

import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { listLimits } from '../../server/core/limits.js'
import {
  ConfigError,
  checkConfig,
  DEFAULT_CONFIG,
  type Invocation,
  printConfig,
  readConfig,
} from '../../server/ops/config.js'
import { limitsWith } from '../../server/ops/limits.js'
import { flagOf, SETTINGS, variableOf } from '../../server/ops/settings.js'

const folder = mkdtempSync(join(tmpdir(), 'iommud-config-'))

function yaml(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const read = (args: readonly string[], environment: Readonly<Record<string, string>> = {}): Invocation =>
  readConfig(args, environment, '1.2.3')

function config(args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  const invocation = read(args, environment)
  if (invocation.kind === 'told') throw new Error(invocation.text)
  return invocation.config
}

describe('a setting', () => {
  const file = yaml('all.yaml', 'drainMs: 1\nlogLevel: error\nstrict: true\nsocket: /from/file\n')

  it('is a default where nobody says anything', () => {
    expect(config([])).toEqual(DEFAULT_CONFIG)
  })

  it('comes from the file over the defaults', () => {
    expect(config(['--config', file])).toMatchObject({ drainMs: 1, logLevel: 'error', strict: true })
    expect(config([], { IOMMUD_CONFIG: file })).toMatchObject({ drainMs: 1 })
  })

  it('comes from the environment over the file', () => {
    const environment = { IOMMUD_CONFIG: file, IOMMUD_DRAIN_MS: '2', IOMMUD_STRICT: 'false' }
    expect(config([], environment)).toMatchObject({ drainMs: 2, strict: false, logLevel: 'error' })
  })

  it('comes from a flag over the environment', () => {
    const environment = { IOMMUD_CONFIG: file, IOMMUD_DRAIN_MS: '2', IOMMUD_SOCKET: '/from/environment' }
    expect(config(['--drain-ms', '3'], environment)).toMatchObject({ drainMs: 3, socket: '/from/environment' })
  })

  it('is repeated where it is a list, in each source', () => {
    expect(config(['--file-root', '/a', '--file-root', '/b']).fileRoots).toEqual(['/a', '/b'])
    expect(config([], { IOMMUD_FILE_ROOTS: '/a:/b' }).fileRoots).toEqual(['/a', '/b'])
    expect(config(['--limit', 'batch_elements=7', '--limit', 'context.objects=9']).limits).toEqual({
      batch_elements: 7,
      'context.objects': 9,
    })
  })

  it('keeps a seed of 64 bits whole', () => {
    expect(config(['--seed', '18446744073709551615']).seed).toBe('18446744073709551615')
  })
})

describe('what is refused', () => {
  const refusals: readonly (readonly [string, readonly string[], Record<string, string>, RegExp])[] = [
    ['an unknown flag', ['--sokcet', '/x'], {}, /unknown option '--sokcet'/],
    ['an unknown variable', [], { IOMMUD_SOKCET: '/x' }, /IOMMUD_SOKCET/],
    ['an unknown key', ['--config', yaml('key.yaml', 'sokcet: /x')], {}, /additional properties \(sokcet\)/],
    ['a key of an unknown limit', ['--limit', 'objcts=1'], {}, /there is no objcts/],
    ['a word too much', ['start'], {}, /too many arguments/],
    ['an address that is not loopback', ['--listen', '0.0.0.0:80'], {}, /listen: must match pattern/],
    ['a number that is none', ['--drain-ms', 'soon'], {}, /--drain-ms: "soon" is not MS/],
    ['an alignment that no kernel has', ['--auto-iova-alignment', '8192'], {}, /autoIovaAlignment: must be equal/],
    ['a negative number', ['--config', yaml('negative.yaml', 'drainMs: -1')], {}, /drainMs: must be >= 0/],
    ['an unknown level', ['--log-level', 'loud'], {}, /logLevel: .*silent/],
    ['a file that is not there', ['--config', join(folder, 'none.yaml')], {}, /none\.yaml: ENOENT/],
    ['a file that is no map', ['--config', yaml('list.yaml', '- 1')], {}, /not a map/],
    ['broken YAML', ['--config', yaml('broken.yaml', 'a: [')], {}, /broken\.yaml/],
  ]
  it.each(refusals)('is %s', (_what, args, environment, message) => {
    expect(() => read(args, environment)).toThrow(ConfigError)
    expect(() => read(args, environment)).toThrow(message)
  })

  it('is not what Kubernetes and the clients put into the environment', () => {
    const environment = { IOMMUD_SERVICE_HOST: '10.0.0.1', IOMMUD_PORT: 'tcp://10.0.0.1:1', IOMMUD_CONTEXT: 'x' }
    expect(config([], environment)).toEqual(DEFAULT_CONFIG)
  })
})

describe('a platform', () => {
  const smmu = { name: 'smmu0', type: 'smmuv3' }
  const device = { name: '0000:00:01.0', iommu: 'smmu0', pasidBits: 4 }

  it('is read from a file of its own, with registers of 64 bits', () => {
    const path = yaml(
      'platform.yaml',
      'units: [{name: v, type: vtd, registers: {CAP: "0xffffffffffffffff", ECAP: 5}}]\ndevices: []\n',
    )
    const { platform } = config(['--platform', path])
    expect(platform.units[0].registers).toEqual({ CAP: 2n ** 64n - 1n, ECAP: 5n })
  })

  it('tells registers otherwise than a unit has them, and of its own type alone', () => {
    const vtd = { name: 'v', type: 'vtd' }
    const { platform } = checkConfig({ platform: { units: [{ ...vtd, reported: { ECAP: '0xf00f4a' } }], devices: [] } })
    expect(platform.units[0].reported).toEqual({ ECAP: 0xf00f4an })
    const faulty = (unit: object) => () => checkConfig({ platform: { units: [unit], devices: [] } })
    expect(faulty({ ...vtd, reported: { IDR0: 1 } })).toThrow(/IDR0 is told of no vtd unit/)
    expect(faulty({ ...smmu, reported: { IDR0: '0x100000000' } })).toThrow(/IDR0 has 32 bits/)
  })

  it('gives a device without PASIDs, ATS and PRI unless it says so', () => {
    const { devices } = checkConfig({
      platform: { units: [smmu], devices: [{ ...device, pasidBits: undefined }] },
    }).platform
    expect(devices).toEqual([{ name: '0000:00:01.0', iommu: 'smmu0', pasidBits: 0, ats: false, pri: false }])
  })

  const faults: readonly (readonly [string, object, RegExp])[] = [
    ['two units of one name', { units: [smmu, smmu], devices: [] }, /smmu0 is given twice/],
    ['a device of no unit', { units: [smmu], devices: [{ ...device, iommu: 'x' }] }, /there is no unit x/],
    ['a name that is no PCI address', { units: [smmu], devices: [{ ...device, name: 'nic' }] }, /segment:bus:dev\.fn/],
    ['an unknown key', { units: [{ ...smmu, cach: 1 }], devices: [] }, /cach/],
    ['PASIDs of 21 bits', { units: [smmu], devices: [{ ...device, pasidBits: 21 }] }, /must be <= 20/],
    [
      'a mediated device without its parent',
      { units: [smmu], devices: [{ name: 'm', iommu: 'smmu0', mediated: { parent: 'p', pasid: 1 } }] },
      /its parent is not a device/,
    ],
    [
      'a mediated device with a PASID its parent cannot use',
      { units: [smmu], devices: [device, { name: 'm', iommu: 'smmu0', mediated: { parent: device.name, pasid: 16 } }] },
      /PASID 16/,
    ],
    [
      'two mediated devices of one PASID',
      {
        units: [smmu],
        devices: [
          device,
          { name: 'm', iommu: 'smmu0', mediated: { parent: device.name, pasid: 3 } },
          { name: 'n', iommu: 'smmu0', mediated: { parent: device.name, pasid: 3 } },
        ],
      },
      /two mediated devices are PASID 3 of 0000:00:01\.0/,
    ],
    ['page requests without ATS', { units: [smmu], devices: [{ ...device, pri: true }] }, /keeps translations \(ats\)/],
    [
      'stalls behind VT-d',
      { units: [{ name: 'v', type: 'vtd' }], devices: [{ ...device, iommu: 'v', stalls: true }] },
      /VT-d stalls nobody/,
    ],
    [
      'ATS of a mediated device whose parent has none',
      {
        units: [smmu],
        devices: [device, { name: 'm', iommu: 'smmu0', ats: true, mediated: { parent: device.name, pasid: 3 } }],
      },
      /ats and pri are its parent's too/,
    ],
    ['entries of a cache without ways', { units: [{ ...smmu, cache: { entries: 4 } }], devices: [] }, /ways/],
    [
      'a cache policy that there is not',
      { units: [{ ...smmu, cache: { policy: 'lru' } }], devices: [] },
      /off, minimal/,
    ],
    [
      'a cache of three entries',
      { units: [{ ...smmu, cache: { entries: 3, ways: 1 } }], devices: [] },
      /powers of two/,
    ],
  ]
  it.each(faults)('is refused with %s', (_what, platform, message) => {
    expect(() => checkConfig({ platform })).toThrow(message)
  })
})

describe('--print-config', () => {
  it('prints what gives the same configuration again', () => {
    const args = ['--listen', '127.0.0.1:0', '--seed', '7', '--limit', 'wait_ms=5', '--file-root', '/a']
    const platform = yaml('again.yaml', 'units: [{name: v, type: vtd, registers: {CAP: 18}}]\ndevices: []\n')
    const first = read([...args, '--platform', platform, '--print-config'])
    if (first.kind !== 'print-config') throw new Error(first.kind)
    const text = printConfig(first.config)
    expect(parse(text)).toMatchObject({ listen: '127.0.0.1:0', seed: '7', drainMs: DEFAULT_CONFIG.drainMs })
    expect(config(['--config', yaml('printed.yaml', text)])).toEqual(first.config)
  })
})

describe('--help', () => {
  it('names every flag with its variable, and the exit statuses', () => {
    const help = read(['--help'])
    if (help.kind !== 'told') throw new Error(help.kind)
    for (const setting of SETTINGS) {
      expect(help.text).toContain(flagOf(setting))
      expect(help.text).toContain(variableOf(setting))
    }
    expect(help.text).toMatch(/Exit status: 0 .* 1 .* 2 /s)
  })

  it('has --version beside it', () => {
    expect(read(['--version'])).toEqual({ kind: 'told', text: '1.2.3\n' })
  })
})

describe('a limit', () => {
  it('is told with what it counts and what happens at it', () => {
    const told = listLimits(limitsWith({}))
    expect(told.filter(({ meaning }) => !/^.{9,}$/.test(meaning))).toEqual([])
    expect(told.find(({ name }) => name === 'ats_completion_ms')).toMatchObject({
      scope: 1,
      value: 10_000n,
      unit: 'ms',
    })
  })

  it('changes alone', () => {
    const limits = limitsWith({ batch_elements: 3, 'uid.contexts': 5 })
    expect(limits.call.batch_elements).toBe(3)
    expect(limits.uid.contexts).toBe(5)
    expect(limits.context).toEqual(limitsWith({}).context)
  })
})
