/** A root as a client gives it, for windows of fakes. */

/** The fields of `smmuv3_pgd`, and nothing odd in them. */
export const ROOT = {
  ttb0: 0x1000n,
  t0sz: 16,
  tg0: 0,
  ir0: 1,
  or0: 1,
  sh0: 3,
  ips: 5,
  mair: 0xffn,
  ha: false,
  hd: false,
}
