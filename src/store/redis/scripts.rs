//! The scripts: each touches keys of one slot only. They are sent whole (`EVAL`), so that a restarted or failed-over
//! server needs no loading first.

/// Defines `append(log, entry, keep)`: an entry with Redis's own time in milliseconds as its score. With `keep` (milliseconds; 0
/// is none) older entries go, and the whole log when nothing was appended for as long.
macro_rules! append {
    () => {
        r"
local function append(log, entry, keep)
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  if keep > 0 then
    redis.call('ZREMRANGEBYSCORE', log, '-inf', string.format('(%.0f', now - keep))
  end
  redis.call('ZADD', log, string.format('%.0f', now), entry)
  if keep > 0 then
    redis.call('PEXPIRE', log, string.format('%.0f', keep))
  end
end
"
    };
}

/// `PUT key log any|absent|equal old new life [entry keep]`: 1 if written, or if the very bytes were there already.
pub(super) const PUT: &str = concat!(
    append!(),
    r"
local current = redis.call('GET', KEYS[1])
if ARGV[1] ~= 'any' then
  if current == ARGV[3] then return 1 end
  if ARGV[1] == 'absent' and current then return 0 end
  if ARGV[1] == 'equal' and current ~= ARGV[2] then return 0 end
end
if ARGV[4] == '0' then
  redis.call('SET', KEYS[1], ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
end
if ARGV[5] then append(KEYS[2], ARGV[5], tonumber(ARGV[6])) end
return 1
"
);

/// `APPEND log entry keep`.
pub(super) const APPEND: &str = concat!(append!(), "append(KEYS[1], ARGV[1], tonumber(ARGV[2]))\n");

/// `INCREMENT key life`: the counter, which lives from its first event on.
pub(super) const INCREMENT: &str = r"
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return count
";

/// `TRIM log keep`.
pub(super) const TRIM: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - ARGV[1]))
";
