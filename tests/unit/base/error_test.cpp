#include "lib/base/error.hpp"

#include <gtest/gtest.h>

namespace titan {
namespace {

TEST(Error, ConcatJoinsWhatStreamsCanPrint) {
  EXPECT_EQ(concat("K = ", 17, " is odd"), "K = 17 is odd");
  EXPECT_EQ(concat(true, 'c', -1.5, std::string("s")), "1c-1.5s");
}

TEST(Error, CheckThrowsItsMessageOnlyWhenTheConditionFails) {
  int evaluated = 0;
  const auto message = [&] { return ++evaluated; };
  EXPECT_NO_THROW(TITAN_CHECK(1 < 2, "never ", message()));
  EXPECT_EQ(evaluated, 0);
  try {
    TITAN_CHECK(2 < 1, "2 is not below ", message());
    FAIL() << "did not throw";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "2 is not below 1");
  }
}

TEST(Error, CheckIsOneStatement) {
  if (false)
    TITAN_CHECK(false, "not reached");
  else
    SUCCEED();
}

TEST(Error, InputErrorsAreErrors) {
  EXPECT_THROW(throw InputError("x"), Error);
  EXPECT_THROW(throw Error("x"), std::runtime_error);
}

}  // namespace
}  // namespace titan
