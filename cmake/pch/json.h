// nlohmann/json.hpp without the body of its literal "…"_json: an inline function that is no template
// makes every file instantiate the whole parser, 0.5 s of each at -O1. Nothing here uses the literal.
#pragma once
#define JSON_USE_GLOBAL_UDLS 0
#define _json _json(const char*, std::size_t); template <typename> nlohmann::json never_made
#include <nlohmann/json.hpp>
#undef _json
