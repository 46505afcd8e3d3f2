/** The shape of a platform in YAML or JSON, and what no schema can say about it. */

import { type PlatformSpec, REPORTABLE, ridOf } from '../drivers/platform.js'

const NAME = { type: 'string', pattern: '^[A-Za-z0-9][A-Za-z0-9:._-]{0,63}$' }
const REGISTER = {
  oneOf: [
    { type: 'integer', minimum: 0 },
    { type: 'string', pattern: '^(0x[0-9a-fA-F]{1,16}|[0-9]{1,20})$' },
  ],
}

/** JSON Schema of a platform. Registers are numbers, or text such as `0x80000000`. */
export const PLATFORM_SCHEMA = {
  type: 'object',
  additionalProperties: false,
  required: ['units', 'devices'],
  properties: {
    units: {
      type: 'array',
      minItems: 1,
      maxItems: 64,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['name', 'type'],
        properties: {
          name: NAME,
          type: { enum: ['smmuv3', 'vtd'] },
          preset: { type: 'string', pattern: '^[a-z0-9-]{1,64}$' },
          registers: { type: 'object', additionalProperties: REGISTER },
          reported: { type: 'object', additionalProperties: REGISTER },
          oracle: {
            type: 'object',
            additionalProperties: false,
            properties: {
              mode: { enum: ['off', 'report', 'fail'] },
              graceSyncs: { type: 'integer', minimum: 0, maximum: 2 ** 31 - 1 },
            },
          },
          cache: {
            type: 'object',
            additionalProperties: false,
            dependencies: { entries: ['ways'], ways: ['entries'] },
            properties: {
              policy: { enum: ['off', 'minimal', 'hardware', 'greedy', 'random'] },
              seed: { type: 'integer', minimum: 0, maximum: 2 ** 32 - 1 },
              entries: { type: 'integer', minimum: 0, maximum: 2 ** 22 },
              ways: { type: 'integer', minimum: 1, maximum: 64 },
            },
          },
        },
      },
    },
    devices: {
      type: 'array',
      maxItems: 4096,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['name', 'iommu'],
        properties: {
          name: NAME,
          iommu: NAME,
          pasidBits: { type: 'integer', minimum: 0, maximum: 20, default: 0 },
          ats: { type: 'boolean', default: false },
          pri: { type: 'boolean', default: false },
          stalls: { type: 'boolean' },
          canwbs: { type: 'boolean' },
          mediated: {
            type: 'object',
            additionalProperties: false,
            required: ['parent', 'pasid'],
            properties: { parent: NAME, pasid: { type: 'integer', minimum: 1, maximum: 2 ** 20 - 1 } },
          },
        },
      },
    },
  },
} as const

/** A platform as it was read: registers are still numbers or text. */
export interface WrittenPlatform extends Omit<PlatformSpec, 'units'> {
  readonly units: readonly (Omit<PlatformSpec['units'][number], 'registers' | 'reported'> & {
    readonly registers?: WrittenRegisters
    readonly reported?: WrittenRegisters
  })[]
}

type WrittenRegisters = Readonly<Record<string, number | string>>

/** What is wrong with a platform that has the right shape; empty if nothing is. */
export function platformFaults({ units, devices }: WrittenPlatform): string[] {
  const faults = [...repeated(units.map(({ name }) => name)), ...repeated(devices.map(({ name }) => name))].map(
    (name) => `platform: the name ${name} is given twice`,
  )
  for (const { name, type, cache = {}, reported = {} } of units) {
    const known: readonly string[] = REPORTABLE[type]
    const unknown = Object.keys(reported).filter((register) => !known.includes(register))
    for (const register of unknown) faults.push(`platform: unit ${name}: ${register} is told of no ${type} unit`)
    const wide = Object.entries(reported).filter(([, value]) => type === 'smmuv3' && BigInt(value) >> 32n !== 0n)
    for (const [register] of wide) faults.push(`platform: unit ${name}: ${register} has 32 bits`)
    if (!isPowerOrZero(cache.entries ?? 0) || !isPowerOrZero(cache.ways ?? 0)) {
      faults.push(`platform: unit ${name}: cache entries and ways are powers of two`)
    }
  }
  for (const slot of repeated(devices.flatMap(({ mediated }) => (mediated ? [slotOf(mediated)] : [])))) {
    faults.push(`platform: two mediated devices are ${slot}`)
  }
  for (const device of devices) {
    const { name, iommu, mediated, ats, pri, stalls } = device
    const parent = devices.find((other) => other.name === mediated?.parent)
    if (pri && !ats) faults.push(`platform: device ${name}: who asks for pages (pri) keeps translations (ats)`)
    if (stalls === true && units.some((unit) => unit.name === iommu && unit.type === 'vtd')) {
      faults.push(`platform: device ${name}: VT-d stalls nobody; a device behind it that waits has pri`)
    }
    if (parent !== undefined && ((ats && !parent.ats) || (pri && !parent.pri) || stalls === true)) {
      faults.push(`platform: device ${name}: ats and pri are its parent's too, and stalls is its parent's alone`)
    }
    if (!units.some((unit) => unit.name === iommu)) faults.push(`platform: device ${name}: there is no unit ${iommu}`)
    if (mediated === undefined && ridOf(name) === undefined) {
      faults.push(`platform: device ${name}: its name is not segment:bus:dev.fn, such as 0000:00:01.0`)
    }
    if (mediated !== undefined && (parent === undefined || parent.mediated !== undefined || parent.iommu !== iommu)) {
      faults.push(`platform: device ${name}: its parent is not a device of ${iommu}`)
    } else if (mediated !== undefined && mediated.pasid >= 2 ** parent!.pasidBits) {
      faults.push(`platform: device ${name}: PASID ${mediated.pasid} has more bits than its parent's PASIDs`)
    }
  }
  return faults
}

const slotOf = ({ parent, pasid }: { readonly parent: string; readonly pasid: number }): string =>
  `PASID ${pasid} of ${parent}`

/** The platform with its registers as 64-bit values. */
export function readPlatform({ units, devices }: WrittenPlatform): PlatformSpec {
  return {
    units: units.map(({ registers = {}, reported, ...unit }) => ({
      ...unit,
      registers: asWords(registers),
      ...(reported === undefined ? {} : { reported: asWords(reported) }),
    })),
    devices,
  }
}

const asWords = (registers: WrittenRegisters): Record<string, bigint> =>
  Object.fromEntries(Object.entries(registers).map(([name, value]) => [name, BigInt(value)]))

const repeated = (names: readonly string[]): string[] => names.filter((name, index) => names.indexOf(name) !== index)

const isPowerOrZero = (value: number): boolean => value === 0 || Number.isInteger(Math.log2(value))
