// What an interval map is measured against: Rust's BTreeMap, from the first byte of an area to its last.
//
// areas-btree COUNT: a turn's work is insert, lookup or remove, of all COUNT areas in no order, or blind, an insert that
// does not look whether an area meets another, as ours does. The areas are those of bench/area-keys.ts.

use std::collections::BTreeMap;
use std::io::{stdin, stdout, BufRead, Write};
use std::ops::Bound::{Included, Unbounded};

#[repr(C)]
struct TimeSpec {
    seconds: i64,
    nanoseconds: i64,
}

extern "C" {
    fn clock_gettime(clock: i32, time: *mut TimeSpec) -> i32;
}

const CLOCK_THREAD_CPUTIME_ID: i32 = 3;

/// CPU time of this thread: the machine may have other work.
fn cpu_ns() -> u64 {
    let mut time = TimeSpec { seconds: 0, nanoseconds: 0 };
    unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.seconds as u64 * 1_000_000_000 + time.nanoseconds as u64
}

/// Marsaglia's xorshift with 32 bits of state.
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }
}

#[derive(Clone, Copy)]
struct Area {
    start: u64,
    last: u64,
    id: u32,
}

fn areas(count: u32) -> Vec<Area> {
    let mut random = Random(0x9e37_79b9);
    let stride = (1u64 << 63) / count as u64;
    let mut areas: Vec<Area> = (0..count)
        .map(|id| {
            let i = id as u64;
            let r = random.next() as u64;
            let (start, length) = match id & 3 {
                0 => ((1 << 32) + i * 12288, 4096),
                1 => ((1 << 32) + i * 12288 + (r & 4095), (r >> 12 & 4095) + 1),
                2 => ((1 << 56) + i * 64 + (r & 15), (r >> 4 & 31) + 1),
                _ => ((1 << 63) + i * stride + r, stride - r),
            };
            Area { start, last: start + (length - 1), id }
        })
        .collect();
    for i in (1..count).rev() {
        areas.swap(i as usize, (random.next() % (i + 1)) as usize);
    }
    areas
}

fn addresses(areas: &[Area]) -> Vec<u64> {
    let mut random = Random(0x1234_5678);
    (0..areas.len())
        .map(|i| {
            let area = areas[(random.next() % areas.len() as u32) as usize];
            let r = random.next() as u64;
            let inside = r & 1023 & (area.last - area.start);
            if i & 7 == 7 { area.start - 1 } else { area.start + inside }
        })
        .collect()
}

type Map = BTreeMap<u64, (u64, u32)>;

fn build(areas: &[Area], looks: bool) -> Map {
    let mut map = Map::new();
    for area in areas {
        if looks {
            let below = map.range((Unbounded, Included(area.last))).next_back();
            assert!(below.map_or(true, |(_, &(last, _))| last < area.start));
        }
        map.insert(area.start, (area.last, area.id));
    }
    map
}

fn mix(sum: u32, value: u32) -> u32 {
    (sum ^ value).wrapping_mul(0x0100_0193)
}

fn insertions(areas: &[Area], looks: bool) -> (u64, u32) {
    let began = cpu_ns();
    let map = build(areas, looks);
    (cpu_ns() - began, map.len() as u32)
}

fn lookups(map: &Map, addresses: &[u64]) -> (u64, u32) {
    let mut sum = 0;
    let began = cpu_ns();
    for &address in addresses {
        let found = match map.range((Unbounded, Included(address))).next_back() {
            Some((_, &(last, id))) if last >= address => id + 1,
            _ => 0,
        };
        sum = mix(sum, found);
    }
    (cpu_ns() - began, sum)
}

fn removals(areas: &[Area]) -> (u64, u32) {
    let mut map = build(areas, false);
    let mut sum = 0;
    let began = cpu_ns();
    for area in areas {
        sum = mix(sum, map.remove(&area.start).unwrap().1);
    }
    (cpu_ns() - began, sum)
}

fn main() {
    let count = std::env::args().nth(1).unwrap().parse().unwrap();
    let areas = areas(count);
    let addresses = addresses(&areas);
    let map = build(&areas, false);
    println!("ready");
    for line in stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let rounds: u32 = words[1].parse().unwrap();
        let (mut took, mut sums) = (0, 0u32);
        for _ in 0..rounds {
            let (ns, sum) = match words[2] {
                "insert" => insertions(&areas, true),
                "blind" => insertions(&areas, false),
                "lookup" => lookups(&map, &addresses),
                "remove" => removals(&areas),
                what => panic!("no work {what}"),
            };
            took += ns;
            sums = sums.wrapping_add(sum);
        }
        println!("{took} {sums}");
        stdout().flush().unwrap();
    }
}
