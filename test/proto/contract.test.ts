import { ScalarType } from '@bufbuild/protobuf'
import { describe, expect, it } from 'vitest'
import { fieldsOf, MESSAGE_NAMES } from '../../proto/codec.js'
import { METHODS, type Method } from '../../proto/generated/methods.js'
import { registry, stock } from './reflection.js'

const methods: readonly Method[] = Object.values(METHODS)

/** Requests that act in no context. All others name theirs in field 1. */
const WITHOUT_CONTEXT = [
  'AdvanceClock',
  'ListContexts',
  'EndContext',
  'AddDevice',
  'RemoveDevice',
  'InjectFault',
  'OpenContext',
  'GetServerInfo',
  'ListMethods',
]

/** The ioctls of /dev/iommu and of a VFIO device, and the file operations, that must be reachable. */
const UAPI = [
  'IOMMU_DESTROY',
  'IOMMU_IOAS_ALLOC',
  'IOMMU_IOAS_ALLOW_IOVAS',
  'IOMMU_IOAS_COPY',
  'IOMMU_IOAS_IOVA_RANGES',
  'IOMMU_IOAS_MAP',
  'IOMMU_IOAS_UNMAP',
  'IOMMU_OPTION',
  'IOMMU_VFIO_IOAS',
  'IOMMU_HWPT_ALLOC',
  'IOMMU_GET_HW_INFO',
  'IOMMU_HWPT_SET_DIRTY_TRACKING',
  'IOMMU_HWPT_GET_DIRTY_BITMAP',
  'IOMMU_HWPT_INVALIDATE',
  'IOMMU_FAULT_QUEUE_ALLOC',
  'IOMMU_IOAS_MAP_FILE',
  'IOMMU_VIOMMU_ALLOC',
  'IOMMU_VDEVICE_ALLOC',
  'IOMMU_IOAS_CHANGE_PROCESS',
  'IOMMU_VEVENTQ_ALLOC',
  'IOMMU_HW_QUEUE_ALLOC',
  'VFIO_DEVICE_BIND_IOMMUFD',
  'VFIO_DEVICE_ATTACH_IOMMUFD_PT',
  'VFIO_DEVICE_DETACH_IOMMUFD_PT',
  'VFIO_DEVICE_RESET',
  'open(2)',
  'read(2)',
  'write(2)',
  'poll(2)',
  'mmap(2)',
  'ioctl(2)',
  'close(2)',
]

/** Methods whose array is part of one thing that is made, or that answer with an errno of their own. */
const ARRAY_WITHOUT_COUNT = ['CreateUnit', 'Ioctl']

describe('a request', () => {
  it('names its context in field 1, or keeps field 1 free', () => {
    for (const method of methods) {
      const first = fieldsOf(method.request).find(({ id }) => id === 1)
      if (WITHOUT_CONTEXT.includes(method.name)) {
        expect(first, method.name).toBeUndefined()
        expect(stock(method.request).proto.reservedRange, method.name).toMatchObject([{ start: 1, end: 2 }])
      } else expect(first, method.name).toMatchObject({ name: 'context', kind: 'string', repeated: false })
    }
  })

  it('with an array is answered with done_count and refusal', () => {
    for (const method of methods.filter(({ name }) => !ARRAY_WITHOUT_COUNT.includes(name))) {
      const takesArray = fieldsOf(method.request).some((field) => {
        if (field.repeated) return true
        return field.kind === 'message' && fieldsOf(field.typeName as never).some(({ repeated }) => repeated)
      })
      const reply = fieldsOf(method.reply).map(({ name }) => name)
      if (takesArray) expect(reply, method.name).toEqual(expect.arrayContaining(['doneCount', 'refusal']))
      else expect(reply, method.name).not.toContain('doneCount')
    }
  })
})

describe('a method', () => {
  it('is an extension, or the machine’s, or stands for a call that its comment names', () => {
    for (const method of methods) {
      expect([method.extension, method.machine, method.uapi !== ''].filter(Boolean), method.name).toHaveLength(1)
      if (method.uapi !== '') expect(`${method.name}: ${method.doc}`).toContain(method.uapi)
    }
  })

  it('says in its comment with which errnos it refuses, or that it never does', () => {
    const silent = methods.filter(({ doc }) => !/Errnos|Never refused|errno/.test(doc)).map(({ name }) => name)
    // These two only read what the context is; what every method can answer stands in common.proto.
    expect(silent).toEqual(['GetContext', 'ListObjects', 'ListDevices', 'ListMemoryRegions'])
  })

  it('that only reads is called Get, List, Explain, Check or IovaRanges, and nothing else is', () => {
    for (const { name, noSideEffects } of methods) {
      const reads = /^(Get|List|Explain|CheckStale|IoasIovaRanges)/.test(name) && name !== 'GetDirtyBitmap'
      expect(noSideEffects, name).toBe(reads)
    }
  })

  it('exists for every ioctl and every operation of a file', () => {
    const covered = new Set(methods.map(({ uapi }) => uapi))
    expect(UAPI.filter((name) => !covered.has(name))).toEqual([])
    expect([...covered].filter((name) => name !== '' && !UAPI.includes(name))).toEqual([])
  })

  it('has the path, messages and options that the descriptors say', () => {
    for (const method of methods) {
      const service = registry.getService(`iommud.v1.${method.service}`)!
      const found = service.methods.find(({ name }) => name === method.name)!
      expect(found.methodKind).toBe('unary')
      expect(method.path).toBe(`/${service.typeName}/${found.name}`)
      expect([found.input.name, found.output.name]).toEqual([method.request, method.reply])
      expect(found.idempotency === 1, method.name).toBe(method.noSideEffects)
    }
    const all = [...registry].flatMap((each) => (each.kind === 'service' ? each.methods : []))
    expect(all.filter(({ parent }) => parent.typeName.startsWith('iommud.'))).toHaveLength(methods.length)
  })
})

describe('a field', () => {
  it('of 64 bits that is an address, or an array, has a fixed width', () => {
    const loose = MESSAGE_NAMES.flatMap((name) =>
      stock(name)
        .fields.filter((field) => field.fieldKind === 'list' && field.listKind === 'scalar')
        .filter((field) => field.scalar === ScalarType.UINT64)
        .map((field) => `${name}.${field.name}`),
    )
    expect(loose).toEqual([])
    const addresses = MESSAGE_NAMES.flatMap((name) =>
      fieldsOf(name)
        .filter(({ name: field, kind }) => /(iova|addr|address)s?$/i.test(field) && kind === 'uint64')
        .map((field) => `${name}.${field.name}`),
    )
    expect(addresses).toEqual([])
  })
})
