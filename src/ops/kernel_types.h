// The pointee of a tag pointer that with_activation_type passes: `using X = OB_TYPE(tag);`.
#pragma once
#include <type_traits>
#define OB_TYPE(tag) std::remove_pointer_t<decltype(tag)>
