-- Notes that a hub lives, and says where the stream is and which hubs live.
-- KEYS: meta, hubs
-- ARGV: the epoch if there is none yet, the hub, milliseconds for which this counts
redis.call('HSETNX', KEYS[1], 'epoch', ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))
redis.call('ZADD', KEYS[2], string.format('%.0f', now + ARGV[3]), ARGV[2])
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'top', 'token')
return {meta[1], meta[2] or '0', meta[3] or '', redis.call('ZRANGE', KEYS[2], 0, -1)}
