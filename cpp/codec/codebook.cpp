#include "cpp/codec/codebook.hpp"

#include "cpp/codec/grid.hpp"
#include "cpp/codec/pq.hpp"

namespace nestvec {

std::size_t Codebook::columns_of(std::size_t dim) const {
  return centroids() ? nestvec::columns_of(*centroids(), dim) : traits(encoding()).columns(dim, 0, levels()->bits);
}

void Codebook::decode(const std::uint8_t* row, std::size_t dim, float* out) const {
  if (centroids())
    decode_pq(*centroids(), row, dim, out);
  else
    decode_grid(*levels(), row, dim, out);
}

double Codebook::longest_decoded() const {
  return centroids() ? longest_of_centroids(*centroids()) : longest_of_levels(*levels());
}

}  // namespace nestvec
