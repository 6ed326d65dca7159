#include "src/model/pass_inputs.h"

#include <algorithm>

#include "src/backend/transfer.h"
#include "src/ops/paged_attention/paged_attention.h"

namespace offbook::model {
namespace {

constexpr int64_t kDistance = 64;  // numbers from list to list: whole lines of a cache

int64_t padded(int64_t n) {
  return std::max<int64_t>(1, (n + kDistance - 1) / kDistance) * kDistance;
}

int64_t count(const std::vector<int32_t>& list) {
  return static_cast<int64_t>(list.size());
}

}  // namespace

void PassInputs::clear() {
  for (auto* list :
       {&ids, &positions, &slots, &adapter_of_row, &sequences, &page_list, &last_rows}) {
    list->clear();
  }
  max_length = 0;
  max_kv_length = 0;
}

void PassInputs::add(const backend::ExecutionContext& ctx, Sequence& sequence, int32_t rows,
                     int32_t adapter) {
  const auto begin = static_cast<int32_t>(positions.size());
  for (int32_t i = 0; i < rows; ++i) {
    positions.push_back(sequence.next_position() + i);
  }
  sequence.extend(ctx, rows, slots);
  sequences.insert(sequences.end(),
                   {begin, rows, sequence.length(), static_cast<int32_t>(page_list.size())});
  page_list.insert(page_list.end(), sequence.pages().begin(), sequence.pages().end());
  adapter_of_row.insert(adapter_of_row.end(), static_cast<size_t>(rows), adapter);
  max_length = std::max(max_length, rows);
  max_kv_length = std::max(max_kv_length, sequence.length());
}

int32_t PassInputs::lone_pages() const {
  const bool is_lone = sequences.size() == ops::kPagedSequenceFields;
  for (size_t i = 0; is_lone && i < page_list.size(); ++i) {
    if (page_list[i] != page_list.front() + static_cast<int32_t>(i)) {
      return -1;
    }
  }
  return is_lone ? page_list.front() : -1;
}

int64_t PassInputs::block_size(int64_t page_entries) const {
  return 4 * padded(count(ids)) + padded(count(sequences)) + padded(count(last_rows)) +
         padded(page_entries);
}

PassInputs::Views PassInputs::fill(const backend::ExecutionContext& ctx, const Tensor& block,
                                   int64_t page_entries) {
  packed_.assign(static_cast<size_t>(block_size(page_entries)), 0);
  int64_t at = 0;
  const auto place = [&](const std::vector<int32_t>& list, int64_t room) {
    std::copy(list.begin(), list.end(), packed_.begin() + at);
    const Tensor view = block.slice(0, at, at + room);
    at += padded(room);
    return view;
  };
  Views out;
  out.ids = place(ids, count(ids));
  out.positions = place(positions, count(positions));
  out.slots = place(slots, count(slots));
  out.adapter_of_row = place(adapter_of_row, count(adapter_of_row));
  out.sequences =
      place(sequences, count(sequences))
          .reshape({count(sequences) / ops::kPagedSequenceFields, ops::kPagedSequenceFields});
  out.last_rows = place(last_rows, count(last_rows));
  out.page_list = place(page_list, page_entries);
  backend::upload(ctx, std::as_bytes(std::span(packed_)), block.slice(0, 0, count(packed_)));
  return out;
}

}  // namespace offbook::model
