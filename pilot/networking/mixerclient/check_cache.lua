-- SPDX-License-Identifier: Apache-2.0
-- First step: take internal headers off. Asking Mixer comes next.
function envoy_on_request(handle)
  if handle:headers():get("x-istio-attributes") then
    handle:headers():remove("x-istio-attributes")
  end
end
