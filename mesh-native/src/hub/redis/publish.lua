-- Carries out orders, and tells all hubs what has changed by them.
-- KEYS: meta, stream, members, divisions, hubs
-- ARGV: epoch, token, changes kept at most, then five of each order: its kind and four values
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'top', 'token')
if meta[1] ~= ARGV[1] then
  return redis.error_reply('EPOCH the directory has lost what it held')
end
local top, token = tonumber(meta[2] or '0'), meta[3] or ''

local function change(...)
  top = top + 1
  local id = string.format('%.0f-0', top)
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], id, 'after', token, 'token', ARGV[2], ...)
  token = ARGV[2]
end

-- A value in KEYS[3] is `<at> <hub>-<client> <name>`.
local function read(field)
  local value = redis.call('HGET', KEYS[3], field)
  if not value then
    return nil, nil
  end
  local at, session = string.match(value, '^(%d+) (%S+) ')
  return tonumber(at), session
end

local orders = {}

function orders.enter(field, session, at, name)
  local there, holder = read(field)
  if there and (holder == session or there >= tonumber(at)) then
    return
  end
  local value = at .. ' ' .. session .. ' ' .. name
  redis.call('HSET', KEYS[3], field, value)
  change('kind', 'entered', 'member', field, 'value', value)
end

function orders.leave(field, session)
  local _, holder = read(field)
  if holder == session then
    redis.call('HDEL', KEYS[3], field)
    change('kind', 'left', 'member', field)
  end
end

function orders.divide(room, from, to)
  if (redis.call('HGET', KEYS[4], room) or '1') ~= from then
    return
  end
  if to == '1' then
    redis.call('HDEL', KEYS[4], room)
  else
    redis.call('HSET', KEYS[4], room, to)
  end
  change('kind', 'divided', 'room', room, 'shards', to)
end

function orders.forget(hub)
  local time = redis.call('TIME')
  local until_ms = redis.call('ZSCORE', KEYS[5], hub)
  if until_ms and tonumber(until_ms) > time[1] * 1000 + time[2] / 1000 then
    return
  end
  local all, found = redis.call('HGETALL', KEYS[3]), false
  for index = 1, #all, 2 do
    if string.match(all[index + 1], '^%d+ (%x+)-') == hub then
      redis.call('HDEL', KEYS[3], all[index])
      found = true
    end
  end
  if found then
    change('kind', 'forgotten', 'hub', hub)
  end
end

for index = 4, #ARGV, 5 do
  orders[ARGV[index]](ARGV[index + 1], ARGV[index + 2], ARGV[index + 3], ARGV[index + 4])
end
redis.call('HSET', KEYS[1], 'top', string.format('%.0f', top), 'token', token)
return top
