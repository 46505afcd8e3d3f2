import { defineConfig } from 'vitest/config'

/** What the hardware's own tests must reach, or a run with coverage fails: see the script coverage:hw. */
const ENOUGH = { lines: 100, branches: 98 }

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/global-setup.ts'],
    // Half of the tests wait for daemons of their own: a core that is kept free, as is the default, would idle.
    maxWorkers: '100%',
    testTimeout: 60_000,
    hookTimeout: 60_000,
    coverage: {
      provider: 'v8',
      include: ['hw-model/**/*.ts', 'server/**/*.ts', 'clients/**/*.ts', 'proto/codec.ts'],
      thresholds: {
        'hw-model/smmuv3/**': ENOUGH,
        'hw-model/vtd/**': ENOUGH,
        'hw-model/walk/**': ENOUGH,
        'hw-model/pci/**': ENOUGH,
        'hw-model/cache/**': ENOUGH,
      },
    },
  },
})
