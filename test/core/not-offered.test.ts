/** Reasons that callers read are facts about this daemon. */

import { describe, expect, it } from 'vitest'
import { NOT_OFFERED, PARTLY_OFFERED } from '../../server/core/index.js'

describe('the reason of a method that is not offered', () => {
  it.each(Object.entries({ ...NOT_OFFERED, ...PARTLY_OFFERED }))(
    '%s: promises nothing and names no layer',
    (_, reason) => {
      expect(reason).not.toMatch(/\b(yet|later|soon|core|todo)\b/i)
    },
  )
})
