// CallChannelTest: a channel over scripted connections, and what became of its calls.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/transport/rpc/scripted_connection.h"
#include "transport/rpc/call_channel.h"

namespace rdmafs {

class CallChannelTest : public testing::Test, protected CallChannel::Owner {
 protected:
  void OnChannelLost(CallChannel&, const absl::Status& reason) override {
    ++losses_;
    loss_reason_ = std::string(reason.message());
  }
  void TearDown() override {
    if (channel_.IsConnected()) script_.Lose();
    loop_.RunOnce(0);
  }

  void Connect() { channel_.Connect(std::make_unique<ScriptedConnection>(script_)); }
  void Resume(uint16_t credits, bool same_session = false) {
    if (!same_session) ++session_;
    channel_.Resume(credits, {session_, 0});
  }
  void ConnectAndResume(uint16_t credits, bool same_session = false) {
    Connect();
    Resume(credits, same_session);
  }
  // A call whose outcome is kept under `name`.
  CallId Start(int name, OnLoss on_loss = OnLoss::kRepeat) {
    return channel_.Start(wire::SeekRequest{static_cast<wire::OpenId>(name)}, {}, on_loss,
                          Keep(name));
  }
  AnswerFunction Keep(int name) {
    return [this, name](Answer answer) {
      EXPECT_EQ(outcomes_.count(name), 0u) << "answered twice";
      outcomes_[name] = answer.error.value();
    };
  }
  wire::OpenId PostedName(size_t index) {
    wire::SeekRequest request;
    wire::Decoder decoder(script_.bodies[index]);
    EXPECT_TRUE(request.Code(decoder));
    return request.open_id;
  }

  MonotonicClock clock_;
  EventLoop loop_{clock_};
  ScriptedConnection::Script script_;
  std::map<int, int> outcomes_;
  uint64_t session_ = 0;
  int losses_ = 0;
  std::string loss_reason_;
  CallChannel channel_{loop_, *this};
};

}  // namespace rdmafs
