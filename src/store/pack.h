// zstd and variable-length integers for blobs of the database.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/records/document.h"

namespace offbook::store {

std::vector<std::byte> compress(std::span<const std::byte> bytes);
// Corrupt unless `packed` is one zstd frame of at most `max_bytes`.
std::string decompress(std::span<const std::byte> packed, uint64_t max_bytes);

// Token ids, and spans that rise within [origin, …): LEB128 of differences, then zstd.
std::vector<std::byte> pack_tokens(std::span<const int32_t> tokens);
std::vector<int32_t> unpack_tokens(std::span<const std::byte> packed, uint64_t count);  // Corrupt
std::vector<std::byte> pack_spans(std::span<const ByteSpan> spans, uint64_t origin);
std::vector<ByteSpan> unpack_spans(std::span<const std::byte> packed, uint64_t count,
                                   uint64_t origin);  // Corrupt

}  // namespace offbook::store
