// How things are said.

export const short = (hash) => (hash ?? "").slice(0, 8);

export function age(seconds) {
  if (!(seconds >= 0)) return "";
  if (seconds < 60) return Math.floor(seconds) + " s";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min";
  if (seconds < 86400) return Math.floor(seconds / 3600) + " h " + Math.floor((seconds % 3600) / 60) + " min";
  return Math.floor(seconds / 86400) + " d";
}

export function bytes(count) {
  if (!count) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(count) / 10));
  const value = count / 1024 ** power;
  return (value < 10 && power > 0 ? value.toFixed(1) : Math.round(value)) + " " + units[power];
}

export const rate = (value) => (value >= 100 ? Math.round(value) : value.toFixed(1)) + "/s";

export const counted = (count, one, many) => count + " " + (count === 1 ? one : many);

export const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });

// Symbols are for terminals.
export const plain = (text) => text.replace(/[\u{1F300}-\u{1FAFF}\u2600-\u27BF]\uFE0F? ?/gu, "");
