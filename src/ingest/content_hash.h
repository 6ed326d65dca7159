// Names of content: XXH3-128 as 32 lower-case hex digits, most significant first.
#pragma once
#include <span>
#include <string>
#include <string_view>

namespace offbook::ingest {

// Hash of a file's bytes (Document::content_hash).
std::string hash_bytes(std::span<const std::byte> bytes);

// Hash of a path (Document::id).
std::string hash_text(std::string_view text);

}  // namespace offbook::ingest
