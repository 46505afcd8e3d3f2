// What an interval map is shown beside: std::map, from the first byte of an area to its last.
//
// areas-stdmap COUNT: a turn's work is insert, lookup or remove, of all COUNT areas in no order. The areas are those of
// bench/area-keys.ts.

#include <map>
#include <utility>
#include <vector>

#include "peer.h"

namespace {

struct Area {
  uint64_t start;
  uint64_t last;
  uint32_t id;
};

struct Value {
  uint64_t last;
  uint32_t id;
};

using Map = std::map<uint64_t, Value>;

std::vector<Area> areas;
std::vector<uint64_t> addresses;
Map whole;

void make_areas(uint32_t count) {
  peer_seed(0x9e3779b9);
  const uint64_t stride = (uint64_t{1} << 63) / count;
  for (uint32_t id = 0; id < count; id++) {
    const uint64_t r = peer_next();
    uint64_t start = (uint64_t{1} << 32) + uint64_t{id} * 12288;
    uint64_t length = 4096;
    if ((id & 3) == 1) {
      start += r & 4095;
      length = (r >> 12 & 4095) + 1;
    } else if ((id & 3) == 2) {
      start = (uint64_t{1} << 56) + uint64_t{id} * 64 + (r & 15);
      length = (r >> 4 & 31) + 1;
    } else if ((id & 3) == 3) {
      start = (uint64_t{1} << 63) + id * stride + r;
      length = stride - r;
    }
    areas.push_back({start, start + (length - 1), id});
  }
  for (uint32_t i = count - 1; i >= 1; i--) std::swap(areas[i], areas[peer_below(i + 1)]);
}

void make_addresses() {
  peer_seed(0x12345678);
  for (size_t i = 0; i < areas.size(); i++) {
    const Area &area = areas[peer_below(static_cast<uint32_t>(areas.size()))];
    const uint64_t inside = peer_next() & 1023 & (area.last - area.start);
    addresses.push_back((i & 7) == 7 ? area.start - 1 : area.start + inside);
  }
}

Map build() {
  Map map;
  for (const Area &area : areas) map.emplace(area.start, Value{area.last, area.id});
  return map;
}

uint32_t mix(uint32_t sum, uint32_t value) { return (sum ^ value) * 0x01000193u; }

uint32_t insertions(uint32_t rounds) {
  uint32_t sum = 0;
  uint64_t took = 0;
  for (uint32_t round = 0; round < rounds; round++) {
    const uint64_t began = peer_ns();
    const Map map = build();
    took += peer_ns() - began;
    sum += static_cast<uint32_t>(map.size());
  }
  peer_took = took;
  return sum;
}

uint32_t lookups(uint32_t rounds) {
  uint32_t sums = 0;
  for (uint32_t round = 0; round < rounds; round++) {
    uint32_t sum = 0;
    for (const uint64_t address : addresses) {
      auto above = whole.upper_bound(address);
      uint32_t found = 0;
      if (above != whole.begin()) {
        const Value &value = (--above)->second;
        if (value.last >= address) found = value.id + 1;
      }
      sum = mix(sum, found);
    }
    sums += sum;
  }
  return sums;
}

uint32_t removals(uint32_t rounds) {
  uint32_t sums = 0;
  uint64_t took = 0;
  for (uint32_t round = 0; round < rounds; round++) {
    Map map = build();
    uint32_t sum = 0;
    const uint64_t began = peer_ns();
    for (const Area &area : areas) {
      const auto found = map.find(area.start);
      sum = mix(sum, found->second.id);
      map.erase(found);
    }
    took += peer_ns() - began;
    sums += sum;
  }
  peer_took = took;
  return sums;
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  make_areas(static_cast<uint32_t>(strtoul(argv[1], nullptr, 10)));
  make_addresses();
  whole = build();
  const struct peer_work works[] = {{"insert", insertions}, {"lookup", lookups}, {"remove", removals}};
  return peer_serve(works, 3);
}
