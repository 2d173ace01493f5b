// The documents of docs/statistics.md, and the doctor's findings, as text for people.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "ctl/doctor.h"

namespace rdmafs {

// A document may be of any version and of any content: what is not there or not of the expected
// type is left out. Control characters become '?'.
std::string StatusText(const nlohmann::ordered_json& document);
std::string StatisticsText(const nlohmann::ordered_json& document);

std::string FindingsText(const std::vector<Finding>& findings);
// {"fine": bool, "findings": [{topic, level, text, remedy}]}
std::string FindingsJson(const std::vector<Finding>& findings);

}  // namespace rdmafs
