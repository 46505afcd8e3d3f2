/**
 * The kernel's self-test by name: 66 tests, with their variants 246 cases. Each has a counterpart of the same name here,
 * played in every world where it makes sense; for every other the reason is told.
 */

import { describe, expect, it } from 'vitest'
import { CHANGE_PROCESS } from './cases/change-process.js'
import { DEVICE_PASID } from './cases/device-pasid.js'
import { DIRTY_TRACKING } from './cases/dirty-tracking.js'
import { IOAS } from './cases/ioas.js'
import { IOMMUFD } from './cases/iommufd.js'
import { MOCK_DOMAIN } from './cases/mock-domain.js'
import { VFIO_COMPAT } from './cases/vfio-compat.js'
import { VIOMMU } from './cases/viommu.js'
import { caseName, type Fixture, WORLDS } from './harness/fixture.js'

/** Fixtures with their variants and tests, spelled from the kernel's tools/testing/selftests/iommu/iommufd.c. */
const INVENTORY: Readonly<Record<string, { readonly variants: readonly string[]; readonly tests: string }>> = {
  iommufd: {
    variants: [''],
    tests: `simple_close cmd_fail cmd_length cmd_ex_fail global_options simple_ioctls unmap_cmd map_cmd info_cmd
      set_iommu_cmd vfio_ioas`,
  },
  change_process: { variants: ['account_none', 'account_user', 'account_mm'], tests: 'basic' },
  iommufd_ioas: {
    variants: ['no_domain', 'mock_domain', 'two_mock_domain', 'mock_domain_limit'],
    tests: `ioas_auto_destroy ioas_destroy alloc_hwpt_nested hwpt_attach ioas_area_destroy ioas_area_auto_destroy
      get_hw_info area unmap_fully_contained_areas area_auto_iova reserved_overflow area_allowed copy_area iova_ranges
      access_domain_destory access_pin access_pin_unmap access_rw access_rw_unaligned fork_gone fork_present
      ioas_option_huge_pages ioas_iova_alloc ioas_align_change copy_sweep dmabuf_simple dmabuf_revoke`,
  },
  iommufd_mock_domain: {
    variants: [
      'one_domain',
      'two_domains',
      'one_domain_hugepage',
      'two_domains_hugepage',
      'one_domain_file',
      'one_domain_file_hugepage',
    ],
    tests: 'basic ro_unshare all_aligns all_aligns_copy user_copy replace alloc_hwpt',
  },
  iommufd_dirty_tracking: {
    variants: [
      'domain_dirty8k',
      'domain_dirty16k',
      'domain_dirty64k',
      'domain_dirty128k',
      'domain_dirty320k',
      'domain_dirty64M',
      'domain_dirty64M_huge',
      'domain_dirty128M',
      'domain_dirty128M_huge',
    ],
    tests: `enforce_dirty set_dirty_tracking pasid_set_dirty_tracking device_dirty_capability get_dirty_bitmap
      get_dirty_bitmap_no_clear`,
  },
  vfio_compat_mock_domain: {
    variants: ['Ver1v2', 'Ver1v0'],
    tests: 'simple_close option_huge_pages get_info map huge_map',
  },
  iommufd_viommu: {
    variants: ['no_viommu', 'mock_viommu'],
    tests: `viommu_auto_destroy viommu_negative_tests viommu_alloc_nested_iopf viommu_alloc_with_data vdevice_alloc
      vdevice_cache hw_queue vdevice_tombstone`,
  },
  iommufd_device_pasid: { variants: ['no_pasid', 'has_pasid'], tests: 'pasid_attach' },
}

/** Our counterparts. */
const FIXTURES = [
  IOMMUFD,
  CHANGE_PROCESS,
  IOAS,
  MOCK_DOMAIN,
  DIRTY_TRACKING,
  VFIO_COMPAT,
  VIOMMU,
  DEVICE_PASID,
] as unknown as readonly Fixture[]

const testsOf = (name: string): readonly string[] => INVENTORY[name].tests.split(/\s+/)

describe('the inventory', () => {
  it('has 66 tests and 246 cases', () => {
    const names = Object.keys(INVENTORY)
    expect(names.reduce((sum, name) => sum + testsOf(name).length, 0)).toBe(66)
    expect(names.reduce((sum, name) => sum + testsOf(name).length * INVENTORY[name].variants.length, 0)).toBe(246)
  })

  it('has a counterpart of every fixture', () => {
    expect(FIXTURES.map(({ name }) => name)).toEqual(Object.keys(INVENTORY))
  })

  it.each(FIXTURES)('$name has every test and variant of the kernel’s, and no other', ({ name, variants, tests }) => {
    expect(Object.keys(variants)).toEqual(INVENTORY[name].variants)
    expect(Object.keys(tests).sort()).toEqual([...testsOf(name)].sort())
  })

  it.each(FIXTURES)('$name is played in the mock’s world, and elsewhere where it makes sense', ({ name, tests }) => {
    for (const [test, one] of Object.entries(tests)) {
      const reasons = Object.values(one.not ?? {})
      expect([caseName(name, '', test), reasons.every((reason) => reason.length > 20)]).toEqual([
        caseName(name, '', test),
        true,
      ])
      expect([test, reasons.length]).not.toEqual([test, WORLDS.length])
    }
  })

  it('is told in docs/selftest.md, case by case', async () => {
    await expect(pageOf(FIXTURES)).toMatchFileSnapshot('../../docs/selftest.md')
  })
})

/** Where each test is played, and why not elsewhere; of its cases, those that the kernel has nothing to test in. */
function pageOf(fixtures: readonly Fixture[]): string {
  const rows = fixtures.flatMap(({ name, variants, tests }) => [
    `| **${name}** | ${Object.keys(variants).join(', ') || '(none)'} | | |`,
    ...testsOf(name).map((test) => {
      const { not = {}, skips } = tests[test]
      const skipped = Object.entries(variants).flatMap(([variant, value]) =>
        skips?.(value) === undefined ? [] : [variant],
      )
      const told = skipped.length === 0 ? '' : ` (nothing to test in ${skipped.join(', ')})`
      return `| ${test}${told} | ${WORLDS.map((world) => not[world.name] ?? 'played').join(' | ')} |`
    }),
  ])
  const cases = fixtures.flatMap(({ variants, tests }) =>
    Object.values(variants).flatMap((value) =>
      Object.values(tests).flatMap(({ not = {}, skips }) =>
        skips?.(value) === undefined ? WORLDS.filter((world) => not[world.name] === undefined) : [],
      ),
    ),
  )
  return `${HEAD.replace('COUNT', String(cases.length))}${rows.join('\n')}\n`
}

const HEAD = `# The kernel’s self-test

Linux tests iommufd with \`tools/testing/selftests/iommu\`: 66 tests over their variants, 246 cases, on a mock of its own.
Each has a counterpart of the same name in \`test/selftest/cases\`, played through the public RPC with structs spelled by
hand, on the mock (\`--test-device\`) and wherever it makes sense on the two real units: COUNT cases. \`npm test\` plays them
in process, \`npm run test:selftest\` over a Unix socket. The eight stories of \`iommufd_fail_nth\` are in \`test/fail-nth\`.
This page is compared with the tests whenever they run.

| test | mock | SMMUv3 | VT-d |
|---|---|---|---|
`
