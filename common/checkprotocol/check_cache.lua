-- SPDX-License-Identifier: Apache-2.0
-- Mixer's Check inside Envoy: ask, remember, decide.
--
-- One Lua state per worker thread runs this text. It keeps Mixer's answers by the attributes that each depended on, so a repeated
-- request costs no call. What to do on a route comes from the route's filter context; this text itself never changes.
--
-- Envoy lets a request pass when its script fails. Therefore everything runs inside pcall, and a failure follows the route's fail policy.

local CLUSTER, PATH = "@CHECK_CLUSTER@", "/mixer/check/v1"
local METADATA, RESPONSE_METADATA, SERVICE_HEADER = "istio.mixer", "istio.mixer.response", "x-istio-attributes"
local GENERATION = 5000 -- answers in one of two generations: at most twice as many are kept (Istio 1.4: 10000)
local QUOTA_GENERATION = 1000
local MOST_CONTEXTS, MOST_EPOCHS, MOST_SHAPES = 512, 2, 64
local RATE_WINDOW = 1000 -- milliseconds over which a quota's use is counted
local PREFETCH_FROM = 10 -- uses in that window; a limit below this is never held in advance, so that no worker starves another
local CLOSED = 100 -- milliseconds for which an exhausted quota is not asked for again
local RENEWAL_TIMEOUT, RENEWAL_PAUSE = 500, 5000 -- milliseconds for a question before its time, and until the next one if that fails
local ABSENT = "-"

---------------------------------------------------------------------------------------------------------------------------------------
-- Bounded memory: two generations. What is used moves to the young one; the old one is dropped when the young one is full.

local Memory = {}
Memory.__index = Memory

function Memory.new(generation)
  return setmetatable({ generation = generation, young = {}, old = {}, count = 0 }, Memory)
end

function Memory:get(key)
  local value = self.young[key]
  if value == nil then
    value = self.old[key]
    if value ~= nil then
      self:put(key, value)
    end
  end
  return value
end

function Memory:put(key, value)
  if self.young[key] == nil then
    if self.count >= self.generation then
      self.old, self.young, self.count = self.young, {}, 0
    end
    self.count = self.count + 1
  end
  self.young[key] = value
end

function Memory:drop(key)
  if self.young[key] ~= nil then
    self.young[key] = nil
    self.count = self.count - 1
  end
  self.old[key] = nil
end

---------------------------------------------------------------------------------------------------------------------------------------
-- Attributes of the current request. A getter returns text, or nil when the attribute is absent.

local function host_and_port(address)
  local host, port = string.match(address or "", "^%[?(.-)%]?:(%d+)$")
  return host, port
end

-- `host;uid`: which service the client meant, and which workload its proxy says to be. Few values repeat often, so each is split once.
local forwarded = Memory.new(500)

local function split_forwarded(text)
  local parts = forwarded:get(text)
  if not parts then
    local host, uid = string.match(text, "^([^;]*);?(.*)$")
    parts = { host = host, uid = string.find(uid, "^kubernetes://") and uid or nil }
    forwarded:put(text, parts)
  end
  return parts
end

local function peer_uri(view)
  local connection = view.info:downstreamSslConnection()
  local uris = connection and connection:uriSanPeerCertificate()
  return uris and uris[1]
end

local function inbound(read)
  return function(view)
    if view.context.direction == "inbound" then
      return read(view)
    end
  end
end

local function of_service(field)
  return function(view)
    local value = view.service and view.service[field]
    return value ~= "" and value or nil
  end
end

local function without_query(path)
  local query = path and string.find(path, "?", 1, true)
  return query and string.sub(path, 1, query - 1) or path
end

local ATTRIBUTES = { -- tag, name, getter
  { "B", "connection.mtls", function(view) return peer_uri(view) and "1" or "0" end },
  { "S", "connection.requested_server_name", function(view)
    local name = view.info:requestedServerName()
    return name ~= "" and name or nil
  end },
  { "S", "context.protocol", function(view)
    local kind = view.headers:get("content-type")
    return kind and string.sub(kind, 1, 16) == "application/grpc" and "grpc" or "http"
  end },
  { "S", "context.reporter.kind", function(view) return view.context.direction end },
  { "P", "destination.ip", inbound(function(view) return (host_and_port(view.info:downstreamLocalAddress())) end) },
  { "I", "destination.port", inbound(function(view)
    local _, port = host_and_port(view.info:downstreamLocalAddress())
    return port
  end) },
  { "S", "destination.service.host", of_service("host") },
  { "S", "destination.service.name", of_service("name") },
  { "S", "destination.service.namespace", of_service("namespace") },
  { "S", "destination.service.uid", of_service("uid") },
  { "P", "origin.ip", function(view) return (host_and_port(view.info:downstreamDirectRemoteAddress())) end },
  { "S", "request.host", function(view) -- routes do not tell cases apart, so a rule must not either
    local name = view.headers:get(":authority")
    return name and string.lower(name)
  end },
  { "S", "request.method", function(view) return view.headers:get(":method") end },
  { "S", "request.path", function(view) return view.headers:get(":path") end },
  { "S", "request.scheme", function(view) return view.headers:get(":scheme") or "http" end },
  { "S", "request.url_path", function(view) return without_query(view.headers:get(":path")) end },
  { "P", "source.ip", inbound(function(view) return (host_and_port(view.info:downstreamDirectRemoteAddress())) end) },
  { "I", "source.port", inbound(function(view)
    local _, port = host_and_port(view.info:downstreamDirectRemoteAddress())
    return port
  end) },
  { "S", "source.principal", inbound(function(view)
    local uri = peer_uri(view)
    return uri and string.gsub(uri, "^spiffe://", "")
  end) },
  { "S", "source.uid", inbound(function(view) return peer_uri(view) and view.uid end) },
}

local GETTERS = {}
for _, attribute in ipairs(ATTRIBUTES) do
  GETTERS[attribute[2]] = attribute[3]
end

local function value_of(view, name, key)
  if name == "request.headers" then
    return view.headers:get(key)
  end
  local getter = GETTERS[name]
  local value = getter and getter(view) -- only the first result: gsub has two
  return value
end

local function view_of(handle, context, service, uid) -- Envoy's wrappers do not outlive a yield: make a new view after each call
  return { context = context, service = service, uid = uid, headers = handle:headers(), info = handle:streamInfo() }
end

---------------------------------------------------------------------------------------------------------------------------------------
-- Keys. A value is length-prefixed and an absent one has a mark of its own, so no two requests that differ can share a key.

local function key_of(shape, view)
  local parts = { shape.id }
  for i = 1, #shape do
    local value = value_of(view, shape[i][1], shape[i][2])
    parts[i + 1] = value and (#value .. ":" .. value) or ABSENT
  end
  return table.concat(parts)
end

local function record(tag, ...)
  local parts = { tag }
  for i = 1, select("#", ...) do
    local value = tostring((select(i, ...)))
    parts[i + 1] = #value .. ":" .. value
  end
  return table.concat(parts)
end

local function known_shape(shapes, references) -- the same references give the same table
  local names = {}
  for i, reference in ipairs(references) do
    names[i] = record("", reference[1], reference[2])
  end
  local id = record("R", table.concat(names))
  for _, shape in ipairs(shapes) do
    if shape.id == id then
      return shape
    end
  end
  references.id = id
  shapes[#shapes + 1] = references
  return references
end

---------------------------------------------------------------------------------------------------------------------------------------
-- What a worker remembers for one policy epoch.

local stores, epochs = {}, 0

local function store_of(epoch)
  local store = stores[epoch]
  if not store then
    if epochs >= MOST_EPOCHS then
      stores, epochs = {}, 0
    end
    store = { shapes = {}, answers = Memory.new(GENERATION), quota_shapes = {}, buckets = Memory.new(QUOTA_GENERATION) }
    stores[epoch], epochs = store, epochs + 1
  end
  return store
end

local function find_answer(store, view, now)
  for i = 1, #store.shapes do
    local key = key_of(store.shapes[i], view)
    local answer = store.answers:get(key)
    if answer then
      if now < answer.expires and answer.uses > 0 then
        answer.uses = answer.uses - 1
        return answer
      end
      store.answers:drop(key)
    end
  end
end

local function keep_answer(store, view, answer, now)
  if not answer.lasts or answer.lasts <= 0 or answer.uses <= 0 then
    return
  end
  if #store.shapes >= MOST_SHAPES then
    store.shapes, store.answers = {}, Memory.new(GENERATION)
  end
  answer.expires, answer.renew = now + answer.lasts, now + answer.lasts / 2
  store.answers:put(key_of(known_shape(store.shapes, answer.shape), view), answer)
end

---------------------------------------------------------------------------------------------------------------------------------------
-- Quotas. A bucket holds tokens that Mixer granted to this worker for one combination of attribute values.

-- Lua has no regular expressions, so Mixer compares. Its verdict depends on nothing else and is kept without an end.
local verdicts = Memory.new(GENERATION)

local function verdict_key(pattern, value)
  return #pattern .. ":" .. pattern .. value
end

local function holds(view, clause, unknown) -- adds the pattern and value of a comparison that Mixer must make to `unknown`
  local value = value_of(view, clause.attribute, clause.key)
  if not value then
    return false
  elseif clause.kind == "prefix" then
    return string.sub(value, 1, #clause.value) == clause.value
  elseif clause.kind == "exact" then
    return value == clause.value
  end
  local verdict = verdicts:get(verdict_key(clause.value, value))
  if verdict == nil then
    unknown[#unknown + 1] = { clause.value, value }
  end
  return verdict
end

local function applies(view, rule, unknown)
  if #rule.matches == 0 then
    return true
  end
  for _, clauses in ipairs(rule.matches) do
    local all = true
    for _, clause in ipairs(clauses) do
      all = all and holds(view, clause, unknown)
    end
    if all then
      return true
    end
  end
  return false
end

local function needed_quotas(view, unknown) -- { name, amount } in the order of the rules; nil when there are none
  local needed
  for _, rule in ipairs(view.context.quotas) do
    if applies(view, rule, unknown) then
      needed = needed or {}
      local known
      for _, quota in ipairs(needed) do
        known = known or (quota.name == rule.name and quota)
      end
      if known then
        known.amount = known.amount + rule.charge
      else
        needed[#needed + 1] = { name = rule.name, amount = rule.charge }
      end
    end
  end
  return needed
end

local function bucket_of(store, view, name)
  for _, shape in ipairs(store.quota_shapes[name] or {}) do
    local bucket = store.buckets:get(record("Q", name) .. key_of(shape, view))
    if bucket then
      return bucket
    end
  end
end

local function count_use(bucket, amount, now)
  local elapsed = now - bucket.since
  if elapsed >= RATE_WINDOW then
    bucket.before = elapsed < 2 * RATE_WINDOW and bucket.used or 0
    bucket.used, bucket.since = 0, now
  end
  bucket.used = bucket.used + amount
end

-- true: taken from the buckets. false and a name: exhausted, known without asking. nil: Mixer must be asked.
local function take(store, view, needed, now)
  local buckets = {}
  for i, quota in ipairs(needed) do
    local bucket = bucket_of(store, view, quota.name)
    if bucket and now < bucket.closed then
      return false, quota.name
    elseif not bucket or now >= bucket.expires or bucket.tokens < quota.amount then
      return nil
    end
    buckets[i] = bucket
  end
  for i, quota in ipairs(needed) do
    buckets[i].tokens = buckets[i].tokens - quota.amount
    count_use(buckets[i], quota.amount, now)
  end
  return true
end

-- Lua cannot call in the background, so a refill rides on one request that must ask anyway; the others ask only for themselves.
local function plan_refill(store, view, needed, now)
  for _, quota in ipairs(needed) do
    local bucket = bucket_of(store, view, quota.name)
    local rate = bucket and now - bucket.since < 2 * RATE_WINDOW and math.max(bucket.before, bucket.used) or 0
    quota.extra = 0
    if rate >= PREFETCH_FROM and now >= bucket.busy then
      quota.extra = math.floor(rate / 2)
      bucket.busy = now + view.context.timeout
    end
  end
end

local function keep_quota(store, view, quota, result, now) -- true when the grant covers this request
  if not result then
    return true -- as in Istio 1.4: an adapter that failed to answer does not block
  end
  local bucket = bucket_of(store, view, quota.name)
  if not bucket and result.lasts > 0 then
    bucket = { tokens = 0, expires = 0, closed = 0, busy = 0, since = now, before = 0, used = 0 }
    local shapes = store.quota_shapes[quota.name] or {}
    store.quota_shapes[quota.name] = #shapes < MOST_SHAPES and shapes or {}
    local shape = known_shape(store.quota_shapes[quota.name], result.shape)
    store.buckets:put(record("Q", quota.name) .. key_of(shape, view), bucket)
  end
  if not bucket then
    return result.granted >= quota.amount
  end
  if now >= bucket.expires then
    bucket.tokens = 0
  end
  if quota.extra > 0 then
    bucket.busy = 0
  end
  local covered = result.granted >= quota.amount
  local spare = covered and result.granted - quota.amount or result.granted
  if spare > 0 then -- all tokens of a bucket end with the one that ends first
    bucket.expires = bucket.tokens > 0 and math.min(bucket.expires, now + result.lasts) or now + result.lasts
    bucket.tokens = bucket.tokens + spare
  end
  if covered then
    count_use(bucket, quota.amount, now)
  else
    bucket.closed = now + CLOSED
  end
  return covered
end

---------------------------------------------------------------------------------------------------------------------------------------
-- The exchange. See common.checkprotocol.message for the records.

local ARITY = { A = 1, C = 4, F = 4, G = 3, O = 4, Q = 3, R = 2, V = 2, W = 2, X = 2, q = 3 }

local function netstring(body, position)
  local colon = string.find(body, ":", position, true)
  local length = colon and tonumber(string.sub(body, position, colon - 1))
  if not length or colon + length > #body then
    error("answer of Mixer is cut off at octet " .. position)
  end
  return string.sub(body, colon + 1, colon + length), colon + length + 1
end

local READERS = {
  A = function(answer) answer.again = true end,
  C = function(answer, code, name, status, message) answer.denial = { code = tonumber(code), name = name, status = status, message = message } end,
  F = function(answer, code, name, status, message) answer.failure = { code = tonumber(code), name = name, status = status, message = message } end,
  G = function(_, pattern, value, verdict) verdicts:put(verdict_key(pattern, value), verdict == "1") end,
  O = function(answer, phase, operation, name, value)
    local list = phase == "request" and answer.request_headers or answer.response_headers
    list[#list + 1] = { operation = operation, name = name, value = value }
  end,
  Q = function(answer, name, granted, lasts) answer.quotas[name] = { granted = tonumber(granted), lasts = tonumber(lasts), shape = {} } end,
  R = function(answer, name, key) answer.shape[#answer.shape + 1] = { name, key } end,
  V = function(answer, lasts, uses) answer.lasts, answer.uses = tonumber(lasts), tonumber(uses) end,
  W = function(answer, version, names) answer.selection = { version = version, names = names } end,
  X = function(answer, status, body) answer.direct = { status = status, body = body } end,
  q = function(answer, quota, name, key)
    local shape = answer.quotas[quota].shape
    shape[#shape + 1] = { name, key }
  end,
}

local function parse(body)
  local answer = { shape = {}, quotas = {}, request_headers = {}, response_headers = {}, uses = 0 }
  local position = 1
  while position <= #body do
    local tag = string.sub(body, position, position)
    local arity, values = ARITY[tag], {}
    if not arity then
      error("answer of Mixer has an unknown record at octet " .. position)
    end
    position = position + 1
    for i = 1, arity do
      values[i], position = netstring(body, position)
    end
    READERS[tag](answer, unpack(values, 1, arity))
  end
  return answer
end

local function add_headers(rows, view, selection)
  if selection and selection.names ~= "*" then
    for name in string.gmatch(selection.names, "[^,]+") do
      local value = view.headers:get(name)
      if value then
        rows[#rows + 1] = record("M", "request.headers", name, value)
      end
    end
    return
  end
  local names, seen = {}, {}
  for name in pairs(view.headers) do
    if not seen[name] then
      seen[name], names[#names + 1] = true, name
    end
  end
  for _, name in ipairs(names) do
    rows[#rows + 1] = record("M", "request.headers", name, view.headers:get(name) or "")
  end
end

local function question(view, store, needed, dedup)
  local selection = store.selection
  local rows = { record("E", view.context.epoch), record("H", selection and selection.version or "") }
  for _, attribute in ipairs(ATTRIBUTES) do
    local value = attribute[3](view)
    if value then
      rows[#rows + 1] = record(attribute[1], attribute[2], value)
    end
  end
  add_headers(rows, view, selection)
  for _, quota in ipairs(needed or {}) do
    rows[#rows + 1] = record("Q", quota.name, quota.amount + quota.extra, quota.extra > 0 and 1 or 0)
  end
  if needed then
    rows[#rows + 1] = record("D", dedup)
  end
  return table.concat(rows)
end

local worker, asked = nil, 0

local function dedup_id(handle)
  worker = worker or (handle:timestampString(EnvoyTimestampResolution.MICROSECOND) .. tostring({}))
  asked = asked + 1
  return worker .. "." .. asked
end

local function unavailable(text)
  return { failure = { code = 14, name = "UNAVAILABLE", status = "503", message = text } }
end

-- Sends what `body_of` makes and waits. A broken connection is tried once more, because Mixer may have closed an idle one as the question
-- left; its deduplication id keeps quota from being charged twice.
local function ask(handle, context, store, body_of, timeout)
  local problem
  for _ = 1, 3 do
    local body = body_of()
    local call = { [":method"] = "POST", [":path"] = PATH, [":authority"] = "mixer" }
    local headers, text = handle:httpCall(CLUSTER, call, body, { timeout_ms = timeout or context.timeout, send_xff = false })
    local status = headers[":status"]
    if status == "200" then
      local answer = parse(text or "")
      if answer.selection then
        store.selection = answer.selection
      end
      if not answer.again then
        return answer
      end
      store.selection = nil
      problem = "Mixer keeps asking for other headers"
    elseif status == "504" or problem then
      return unavailable(text or status)
    else
      problem = text or status
    end
  end
  return unavailable(problem)
end

local function ask_check(handle, context, service, uid, store, needed, timeout)
  local dedup = needed and dedup_id(handle)
  return ask(handle, context, store, function()
    return question(view_of(handle, context, service, uid), store, needed, dedup)
  end, timeout)
end

local function ask_verdicts(handle, context, store, unknown)
  return ask(handle, context, store, function()
    local rows = {}
    for i, pair in ipairs(unknown) do
      rows[i] = record("G", pair[1], pair[2])
    end
    return table.concat(rows)
  end)
end

---------------------------------------------------------------------------------------------------------------------------------------
-- Acting on an answer.

-- Hits are counted together: one counter each would cost as much as finding the answer. They show at the latest with the next miss.
local hits, hits_since = 0, 0

local function count(handle, name, number)
  handle:stats():counter(name):add(number)
end

local function count_hits(handle, now)
  if hits > 0 then
    count(handle, "total_check_calls", hits)
    count(handle, "total_check_cache_hits", hits)
  end
  hits, hits_since = 0, now
end

local function count_hit(handle, now)
  hits = hits + 1
  if hits >= 1000 or now - hits_since >= 1000 then
    count_hits(handle, now)
  end
end

local function count_miss(handle, now)
  count_hits(handle, now)
  count(handle, "total_check_calls", 1)
  count(handle, "total_remote_check_calls", 1)
end

local function note(handle, key, value)
  handle:streamInfo():dynamicMetadata():set(METADATA, key, value)
end

local function deny(handle, denial)
  note(handle, "status", denial.name)
  note(handle, "check.error_code", denial.code)
  note(handle, "check.error_message", denial.message)
  handle:respond({ [":status"] = denial.status, ["content-type"] = "text/plain" }, denial.name .. ":" .. denial.message)
end

local function exhausted(handle, names)
  deny(handle, { code = 8, name = "RESOURCE_EXHAUSTED", status = "429", message = "Quota is exhausted for: " .. names })
end

local function change(headers, operations)
  for _, operation in ipairs(operations) do
    if operation.operation == "replace" then
      headers:replace(operation.name, operation.value)
    elseif operation.operation == "remove" then
      headers:remove(operation.name)
    else
      headers:add(operation.name, operation.value)
    end
  end
end

local function respond_directly(handle, answer)
  local headers = { [":status"] = answer.direct.status }
  for _, operation in ipairs(answer.response_headers) do
    if operation.operation ~= "remove" then
      headers[operation.name] = operation.value
    end
  end
  handle:respond(headers, answer.direct.body)
end

local operations_seen = false -- whether this worker ever had an operation on a response

local function apply(handle, answer) -- does not return when the request is answered here
  if answer.direct then
    respond_directly(handle, answer)
  elseif answer.denial then
    deny(handle, answer.denial)
  end
  if #answer.request_headers > 0 then
    change(handle:headers(), answer.request_headers)
    handle:clearRouteCache()
  end
  if #answer.response_headers > 0 then
    operations_seen = true
    handle:streamInfo():dynamicMetadata():set(RESPONSE_METADATA, "operations", answer.response_headers)
  end
end

local function fail(handle, context, failure)
  count(handle, "total_remote_call_errors", 1)
  if context.fail_open then
    count(handle, "total_check_failed_open", 1)
  else
    deny(handle, failure)
  end
end

-- An answer past half its life is asked for again by one request, while the others go on with it. So what is asked for steadily survives a
-- Mixer that is away for the other half; at the end of its life it would fail with the first request. Without an answer it goes on, too.
local function renewed(handle, context, service, uid, store, answer, now)
  answer.renew = now + RENEWAL_PAUSE
  local fresh = ask_check(handle, context, service, uid, store, nil, math.min(context.timeout, RENEWAL_TIMEOUT))
  if fresh.failure then
    count(handle, "total_remote_call_errors", 1)
    return nil
  end
  count_miss(handle, now)
  keep_answer(store, view_of(handle, context, service, uid), fresh, handle:timestamp())
  return fresh
end

-- The Report takes a checked request without a note for one that was answered from the cache.
local function check(handle, context, service, uid)
  local now = handle:timestamp()
  local store = store_of(context.epoch)
  local view = view_of(handle, context, service, uid)
  local needed
  if #context.quotas > 0 then
    local unknown = {}
    needed = needed_quotas(view, unknown)
    if #unknown > 0 then
      local compared = ask_verdicts(handle, context, store, unknown)
      if compared.failure then
        return fail(handle, context, compared.failure)
      end
      view = view_of(handle, context, service, uid)
      needed = needed_quotas(view, {})
    end
  end
  local answer = find_answer(store, view, now)
  if answer and not needed and now >= answer.renew then
    local fresh = renewed(handle, context, service, uid, store, answer, now)
    if fresh then
      note(handle, "check.cache_hit", false)
      return apply(handle, fresh)
    end
  end
  if answer then
    local taken, name = true, nil
    if needed and not answer.denial and not answer.direct then
      taken, name = take(store, view, needed, now)
      note(handle, "quota.cache_hit", taken ~= nil)
    end
    if taken ~= nil then
      count_hit(handle, now)
      if taken then
        return apply(handle, answer)
      end
      return exhausted(handle, name)
    end
  end
  note(handle, "check.cache_hit", answer ~= nil)
  count_miss(handle, now)
  if needed then
    plan_refill(store, view, needed, now)
  end
  answer = ask_check(handle, context, service, uid, store, needed)
  if answer.failure then
    return fail(handle, context, answer.failure)
  end
  now, view = handle:timestamp(), view_of(handle, context, service, uid)
  keep_answer(store, view, answer, now)
  local missing = {}
  if needed and not answer.denial and not answer.direct then
    for _, quota in ipairs(needed) do
      if not keep_quota(store, view, quota, answer.quotas[quota.name], now) then
        missing[#missing + 1] = quota.name
      end
    end
  end
  if #missing > 0 then
    return exhausted(handle, table.concat(missing, ", "))
  end
  return apply(handle, answer)
end

---------------------------------------------------------------------------------------------------------------------------------------
-- Contexts of routes, each read once per worker.

local contexts, context_count = {}, 0

local function read_context(source)
  local context = {
    check = source:get("check"),
    direction = source:get("direction"),
    services = source:get("services") or {},
    by_host = {},
    fail_open = source:get("failOpen") == true,
    epoch = source:get("epoch") or "",
    timeout = source:get("timeout") or 5000,
    quotas = source:get("quotas") or {},
  }
  for _, service in ipairs(context.services) do
    context.by_host[service.host] = service
  end
  return context
end

local function context_of(handle)
  local source = handle:filterContext()
  local id = source and source:get("id")
  if not id then
    return nil
  end
  local context = contexts[id]
  if not context then
    if context_count >= MOST_CONTEXTS then
      contexts, context_count = {}, 0
    end
    context = read_context(source)
    contexts[id], context_count = context, context_count + 1
  end
  return context
end

-- The service that a mesh client meant, if this route serves it, and the client's workload.
local function read_forwarded(handle, context)
  local headers = handle:headers()
  local text = headers:get(SERVICE_HEADER)
  if text then
    headers:remove(SERVICE_HEADER)
  end
  if not context then
    return nil
  end
  local first = context.services[1]
  if not text or context.direction ~= "inbound" then
    return first
  end
  local parts = split_forwarded(text)
  local service = context.by_host[parts.host] or first
  if service ~= first then
    note(handle, "destination.service", service.host .. "|" .. service.name .. "|" .. service.namespace)
  end
  if parts.uid and string.sub(handle:streamInfo():downstreamDirectRemoteAddress(), 1, 4) == "127." then
    note(handle, "source.uid", parts.uid) -- workloads that share loopback cannot be told apart by address
  end
  return service, parts.uid
end

local function on_request(handle)
  local context = context_of(handle)
  local service, uid = read_forwarded(handle, context)
  if context and context.check then
    check(handle, context, service, uid)
  end
end

function envoy_on_request(handle)
  local ok, problem = pcall(on_request, handle)
  if not ok then
    handle:logErr("istio.mixer: " .. tostring(problem))
    local known, context = pcall(context_of, handle)
    if not (known and context and context.fail_open) then
      deny(handle, { code = 14, name = "UNAVAILABLE", status = "503", message = "the check could not be made" })
    end
  end
end

function envoy_on_response(handle)
  if operations_seen then
    local kept = handle:streamInfo():dynamicMetadata():get(RESPONSE_METADATA)
    if kept then
      change(handle:headers(), kept.operations)
    end
  end
end
