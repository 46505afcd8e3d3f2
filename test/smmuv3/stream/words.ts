/** The words of `docs/smmuv3-driver.md` that are not counted or listed. */

/** What the page is about. */
export const HEAD: readonly string[] = [
  '# The SMMUv3 host driver beside Linux’s',
  '',
  'Written by `test/smmuv3/driver-stream.test.ts`, which fails when it is no longer true (`vitest run … -u` writes it).',
  '',
  'The recording is that of an arm64 guest, Linux 7.2.13 with `iommu.strict=1`, on QEMU 11.1.3’s SMMUv3: every register',
  'write and every command from reset on, while nvme, virtio, e1000e and VFIO devices did DMA. What the driver did is',
  'derived from those rows alone: a reset, each attach, detach and unmap with its range, its ASID and the size of its',
  'leaves. (Of a domain that lives on, the ASID is found in the CD at the end.) The same is then done with the driver of',
  'this daemon, on a unit with the recorded ID registers, and what it writes is compared bit for bit. Mapping writes no',
  'command, so the recording does not say when pages were mapped: here they are as soon as they can have been.',
]

/** Where the two differ, the recording aside. */
export const DIFFERENCES: readonly string[] = [
  '## Differences from Linux',
  '',
  '- **Several ranges, one SYNC.** An unmap of areas, or a clean read of dirty pages, is one list: its ranges, then one SYNC.',
  '  Linux ends each range with its own. From 8 ranges on the whole domain is flushed by one command, since a list of',
  '  commands would cost more than what it spares; without IDR3.RIL also from 512 commands on, whatever the size of the',
  '  leaves (Linux goes on to 2^18 for blocks of 2 MiB), because no call may hold the daemon for longer.',
  '- **Tables that are empty go at once**, at all levels, with Leaf 0 and no TTL on the range that emptied them. Linux frees',
  '  a table only when one call unmaps all of its span, with a list of its own before that of the leaves.',
  '- **CFGI_STE with Leaf 0** after a level 2 stream table is made; Linux gives none.',
  '- **ATC_INV comes last**, after the TLBI of a detach, too: who keeps translations is asked, and the queue does not wait for',
  '  a client. With PASIDs a second command says G: a device may take the plain one for requests without a PASID alone.',
  '- **A guest’s stage 1** leaves no CD of the host behind: what was on the RID before is cleared, as for stage 2.',
  '- **A guest’s list** is ended by one SYNC, and its ATC_INV are given after that, wherever they stood in it; Linux gives',
  '  them in the guest’s order. A list is refused (EIO) before a command of it could stop the queue.',
  '- **CD.MAIR1 is 0**: no leaf names attributes 4 to 7. Linux has all ones there, by the sign of a 32-bit number.',
  '- **NS-EL1, never EL2-E2H.** Linux sets CR2.E2H and STRW, and gives TLBI_EL2_VA, when its own processor runs at EL2 with',
  '  VHE. This driver has no processor: STRW is 0, and TLBI_EL2_ALL at reset, with IDR0.Hyp, is the only one.',
  '- **Interrupts are wires** that nobody waits for: after whatever may have written records, the driver takes them all out',
  '  and writes EVENTQ_CONS once; Linux writes it after each record.',
  '- **A stalled or page request is answered** with RESUME or PRI_RESP and no SYNC, as in Linux; a device that is reset or',
  '  detached has STALL_TERM and a SYNC as well, which Linux never gives.',
  '- **A queue that cannot be fetched** (CERROR_ABT) is tried nine times and then the unit is switched off; Linux tries for',
  '  ever. Whoever switches it off, for this or for SFM_ERR, sets GBPA.ABORT before CR0 is 0, since DMA passes a unit that',
  '  is off; Linux clears CR0 alone.',
  '- **A device that does not complete ATC_INV** has an STE that aborts until it is reset; Linux retries the SYNC and',
  '  leaves the device as it is.',
]
