#include "src/store/shelf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/base/file_system_memory.h"
#include "src/store/context_artefact.h"

namespace offbook::store {
namespace {

ShelfPlace place(int64_t document, char digit) {
  return {document, std::string(32, digit)};
}

Artefact vectors_of(float first) {
  const Tensor ids = Tensor::zeros(Dtype::i64, {1});
  const Tensor vectors = Tensor::zeros(Dtype::f32, {1, 64});
  vectors.data<float>()[0] = first;
  return to_artefact(VectorBlock{.encoder = std::string(32, 'e'), .ids = ids, .vectors = vectors});
}

class ShelfTest : public testing::Test {
 protected:
  Shelf shelf(uint64_t max_bytes = 1 << 20) { return Shelf(fs_, "/corpus/shelf", max_bytes); }
  std::optional<float> first_of(const ShelfPlace& at) {
    const auto artefact = shelf().get(at, ArtefactKind::vectors);
    return artefact ? std::optional(to_vectors(*artefact).vectors.data<float>()[0]) : std::nullopt;
  }
  static constexpr const char* kFile = "/corpus/shelf/3/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.ob";
  MemoryFileSystem fs_;
};

TEST_F(ShelfTest, GivesBackWhatAnotherProcessPut) {
  EXPECT_TRUE(shelf().put(place(0, 'b'), vectors_of(2)));
  EXPECT_TRUE(shelf().put(place(3, 'a'), vectors_of(5)));
  EXPECT_EQ(first_of(place(0, 'b')), 2);
  EXPECT_EQ(first_of(place(3, 'a')), 5);
  EXPECT_EQ(first_of(place(3, 'c')), std::nullopt);
  EXPECT_FALSE(shelf().get(place(3, 'a'), ArtefactKind::context)) << "of another kind";
}

TEST_F(ShelfTest, ForgetsADamagedFileAndNamesIt) {
  shelf().put(place(3, 'a'), vectors_of(5));
  const auto file = fs_.open(kFile);
  std::vector<std::byte> bytes(file->bytes().begin(), file->bytes().end());
  bytes[bytes.size() - 3] ^= std::byte{1};
  fs_.create(kFile)->append(bytes);
  EXPECT_EQ(first_of(place(3, 'a')), std::nullopt);
  ASSERT_EQ(shelf().entries().size(), 1u);
  EXPECT_THAT(shelf().fault(shelf().entries()[0]), testing::HasSubstr(kFile));
  EXPECT_TRUE(shelf().put(place(3, 'a'), vectors_of(5)));
  EXPECT_EQ(first_of(place(3, 'a')), 5);
  EXPECT_EQ(shelf().fault(shelf().entries()[0]), "");
}

TEST_F(ShelfTest, StaysWithinItsBudget) {
  for (const char digit : {'a', 'b', 'c'}) {
    shelf().put(place(3, digit), vectors_of(1));
  }
  const uint64_t one = shelf().entries()[0].bytes;
  EXPECT_EQ(shelf(3 * one).enforce_budget(), 0u);
  EXPECT_EQ(shelf(2 * one).enforce_budget(), one);
  EXPECT_EQ(shelf().entries().size(), 2u);
  EXPECT_EQ(shelf(one - 1).enforce_budget(), 2 * one);
  EXPECT_TRUE(shelf().entries().empty());
}

TEST_F(ShelfTest, AFullDiskLosesNothingButTime) {
  fs_.set_faults({.capacity_bytes = 100});
  EXPECT_FALSE(shelf().put(place(3, 'a'), vectors_of(1)));
  EXPECT_EQ(first_of(place(3, 'a')), std::nullopt);
  fs_.set_faults({});
  EXPECT_TRUE(shelf().put(place(3, 'a'), vectors_of(1)));
  EXPECT_THAT(fs_.list("/corpus/shelf/3"), testing::SizeIs(1)) << "no file is left beside";
}

TEST_F(ShelfTest, KnowsWhatItDidNotWrite) {
  fs_.create_directories("/corpus/shelf/notes");
  fs_.create("/corpus/shelf/notes/readme.txt")->append({});
  fs_.create("/corpus/shelf/stray")->append({});
  const auto entries = shelf().entries();
  ASSERT_EQ(entries.size(), 2u);
  for (const auto& e : entries) {
    EXPECT_LT(e.document, 0);
    EXPECT_EQ(shelf().fault(e), "no entry of a shelf");
  }
}

}  // namespace
}  // namespace offbook::store
