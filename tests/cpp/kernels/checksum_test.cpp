// Every ISA's CRC-32C against its definition, bit by bit.
#include <ios>
#include <utility>
#include <vector>

#include "cpp/kernels/kernels.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"
#include "tests/cpp/isas.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using draw::Tight;
using isas::Tested;

std::uint32_t crc_by_bits(const std::uint8_t* data, std::size_t size) {
  std::uint32_t crc = 0xffffffff;
  for (std::size_t i = 0; i < size; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc;
}

}  // namespace

TEST(crc32c_of_known_vectors) {
  std::vector<std::uint8_t> rising(32), falling(32), digits = {'1', '2', '3', '4', '5', '6', '7', '8', '9'};
  for (std::size_t i = 0; i < 32; ++i) falling[31 - i] = rising[i] = std::uint8_t(i);
  std::vector<std::uint8_t> read_command(48);  // the SCSI Read (10) command of RFC 3720, B.4
  for (const auto& [at, value] :
       {std::pair{0, 0x01}, {1, 0xc0}, {16, 0x14}, {22, 0x04}, {27, 0x14}, {31, 0x18}, {32, 0x28}, {40, 0x02}})
    read_command[std::size_t(at)] = std::uint8_t(value);
  const std::pair<std::vector<std::uint8_t>, std::uint32_t> vectors[] = {
      {digits, 0xe3069283},
      {std::vector<std::uint8_t>(32), 0x8a9136aa},
      {std::vector<std::uint8_t>(32, 0xff), 0x62a8ab43},
      {rising, 0x46dd794e},
      {falling, 0x113fdb5c},
      {read_command, 0xd9963a56}};
  for (const Tested& tested : isas::supported())
    for (const auto& [data, want] : vectors) {
      std::uint32_t crc = 0;
      tested.kernels.crc32c(data.data(), data.size(), 1, &crc);
      CHECK(crc == want, name(tested.isa) << ": " << std::hex << crc << ", expected " << want);
    }
}

TEST(crc32c_of_every_length_and_count) {
  Rng rng(3);
  for (std::size_t length = 0; length <= 300; ++length)
    for (std::size_t count : {0, 1, 2, 3, 4, 5, 8, 9, 11}) {
      Tight<std::uint8_t> data(length * count, length % 8);
      for (std::uint8_t& value : data) value = length % 10 == 9 ? 0xff : draw::byte(rng);
      for (const Tested& tested : isas::supported()) {
        std::vector<std::uint32_t> crc(count + 1, 0xabcdabcd);
        tested.kernels.crc32c(data.data(), length, count, crc.data());
        CHECK(crc[count] == 0xabcdabcd, name(tested.isa) << ", length " << length << ", count " << count);
        for (std::size_t c = 0; c < count; ++c)
          CHECK(crc[c] == crc_by_bits(data.data() + c * length, length),
                name(tested.isa) << ", length " << length << ", chunk " << c << " of " << count);
      }
    }
}
