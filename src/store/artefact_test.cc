#include "src/store/artefact.h"

#include <numeric>

#include "src/base/error.h"
#include "src/base/file_system_memory.h"

namespace offbook::store {
namespace {

Artefact sample(int seed = 1) {
  Tensor a = Tensor::empty(Dtype::f32, {3, 5});
  std::iota(a.data<float>(), a.data<float>() + 15, static_cast<float>(seed));
  Tensor b = Tensor::empty(Dtype::u8, {7});
  std::memset(b.raw(), seed, 7);
  return {.kind = ArtefactKind::job_state,
          .model = std::string(32, 'a'),
          .fields = {{"step", seed}},
          .tensors = {{"a", a}, {"b", b}, {"empty", Tensor::empty(Dtype::bf16, {0, 4})}}};
}

class Bytes final : public ReadableFile {
 public:
  explicit Bytes(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  std::span<const std::byte> bytes() const noexcept override { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

Artefact decode(std::vector<std::byte> bytes) {
  return decode_artefact(std::make_shared<Bytes>(std::move(bytes)), "x.ob");
}

ErrorCode code_of(std::vector<std::byte> bytes) {
  try {
    decode(std::move(bytes));
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("x.ob, offset"));
    return e.code();
  }
  ADD_FAILURE() << "read without complaint";
  return ErrorCode::Io;
}

TEST(Artefact, ComesBackEqualAndAligned) {
  const Artefact back = decode(encode_artefact(sample()));
  EXPECT_EQ(back.kind, ArtefactKind::job_state);
  EXPECT_EQ(back.model, std::string(32, 'a'));
  EXPECT_EQ(back.fields, sample().fields);
  EXPECT_EQ(back.at("a").shape(), Shape({3, 5}));
  EXPECT_EQ(back.at("a").data<float>()[14], 15.0f);
  EXPECT_EQ(back.at("b").data<uint8_t>()[6], 1);
  EXPECT_EQ(back.at("empty").numel(), 0);
  EXPECT_EQ((back.at("b").raw() - back.at("a").raw()) % 64, 0);
  EXPECT_THROW(back.at("none"), Error);
  EXPECT_EQ(encode_artefact(back), encode_artefact(sample()));
}

TEST(Artefact, EveryFlippedByteIsFound) {
  const std::vector<std::byte> good = encode_artefact(sample());
  for (size_t i = 0; i < good.size(); ++i) {
    std::vector<std::byte> bad = good;
    bad[i] ^= std::byte{0x10};
    EXPECT_THAT(code_of(bad), testing::AnyOf(ErrorCode::Corrupt, ErrorCode::Unsupported)) << i;
  }
}

TEST(Artefact, EveryCutIsFound) {
  const std::vector<std::byte> good = encode_artefact(sample());
  for (size_t n = 0; n < good.size(); ++n) {
    EXPECT_EQ(code_of({good.begin(), good.begin() + static_cast<ptrdiff_t>(n)}),
              ErrorCode::Corrupt);
  }
}

TEST(Artefact, NewerVersionIsUnsupportedAndSaysSo) {
  std::vector<std::byte> newer = encode_artefact(sample());
  newer[8] = std::byte{2};
  try {
    decode(newer);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::Unsupported);
    EXPECT_THAT(e.what(), testing::HasSubstr("format 2"));
  }
}

TEST(Artefact, StridedOrQuantisedTensorsAreRefused) {
  Artefact strided{.tensors = {{"t", Tensor::zeros(Dtype::f32, {4, 4}).slice(1, 0, 2)}}};
  EXPECT_THROW(encode_artefact(strided), Error);
  Artefact quantised{.tensors = {{"t", Tensor::zeros(Dtype::q8_0, {32})}}};
  EXPECT_THROW(encode_artefact(quantised), Error);
}

class ArtefactStoreTest : public testing::Test {
 protected:
  void SetUp() override { fs_.create_directories("/c/artefacts"); }
  MemoryFileSystem fs_;
  ArtefactStore store_{fs_, "/c/artefacts"};
};

TEST_F(ArtefactStoreTest, StoresEqualContentOnce) {
  const std::string id = store_.put(sample());
  const uint64_t before = fs_.operations();
  EXPECT_EQ(store_.put(sample()), id);
  EXPECT_LE(fs_.operations() - before, 1u);  // the name is synced, nothing is written
  EXPECT_NE(store_.put(sample(2)), id);
  EXPECT_EQ(store_.list().ids.size(), 2u);
  EXPECT_EQ(store_.get(id, ArtefactKind::job_state).fields, sample().fields);
  EXPECT_THROW(store_.get(id, ArtefactKind::vectors), Error);
  store_.remove(id);
  EXPECT_FALSE(store_.size_bytes(id));
}

TEST_F(ArtefactStoreTest, ReplacesADamagedFileOfTheSameName) {
  const std::string id = store_.put(sample());
  fs_.create(store_.path_of(id))->append(std::as_bytes(std::span("rubbish")));
  EXPECT_THROW(store_.get(id, ArtefactKind::job_state), Error);
  store_.put(sample());
  EXPECT_NO_THROW(store_.get(id, ArtefactKind::job_state));
}

TEST_F(ArtefactStoreTest, RefusesNamesThatAreNoIds) {
  EXPECT_THROW(store_.get("../../etc/passwd", ArtefactKind::vectors), Error);
  EXPECT_THROW(store_.path_of(std::string(32, 'A')), Error);
}

TEST_F(ArtefactStoreTest, ListsWhatDoesNotBelong) {
  const std::string id = store_.put(sample());
  fs_.create(store_.path_of(id).string() + ".7-1.tmp");
  fs_.create("/c/artefacts/note");
  const auto listing = store_.list();
  EXPECT_EQ(listing.ids, std::vector<std::string>{id});
  EXPECT_EQ(listing.unexpected.size(), 2u);
}

TEST_F(ArtefactStoreTest, PowerCutLeavesTheWholeFileOrNone) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    MemoryFileSystem fs;
    fs.create_directories("/a");
    ArtefactStore store(fs, "/a");
    const std::string kept = store.put(sample(1));
    fs.set_faults({.fail_at = fs.operations() + seed % 7, .fail_ever_after = true});
    std::optional<std::string> reported;
    try {
      reported = store.put(sample(2));
    } catch (const Error& e) {
      ASSERT_EQ(e.code(), ErrorCode::Io);
    }
    fs.power_cut(seed);
    EXPECT_NO_THROW(store.get(kept, ArtefactKind::job_state)) << "seed " << seed;
    for (const std::string& id : store.list().ids) {
      EXPECT_NO_THROW(store.get(id, ArtefactKind::job_state)) << "seed " << seed;
    }
    if (reported) {
      EXPECT_TRUE(store.size_bytes(*reported)) << "seed " << seed;
    }
  }
}

TEST_F(ArtefactStoreTest, FullDiskLeavesNothingHalfWritten) {
  const std::string id = store_.put(sample());
  fs_.set_faults({.capacity_bytes = *store_.size_bytes(id) + 100});
  EXPECT_THROW(store_.put(sample(2)), Error);
  EXPECT_EQ(store_.list().ids, std::vector<std::string>{id});
  EXPECT_TRUE(store_.list().unexpected.empty());
}

}  // namespace
}  // namespace offbook::store
