// Times as the clock of a zone shows them.

const OFFSET = /^UTC(?=[+-])/; // Python's name of a fixed distance

// returns the zone's name and a function that shows a moment, with `exact` its distance from UTC too
function makeClock(zone) {
  const utc = (ms) => new Date(ms).toISOString().replace("T", " ").replace("Z", "");
  if (zone === "UTC") return { zone, moment: (ms) => utc(ms).replace(/\.000$/, "") };
  const two = "2-digit";
  let format;
  try {
    format = new Intl.DateTimeFormat("en-US", {
      timeZone: zone.replace(OFFSET, ""), hourCycle: "h23", year: "numeric", month: two, day: two,
      hour: two, minute: two, second: two, fractionalSecondDigits: 3,
    });
  } catch {
    return makeClock("UTC"); // this page does not know the zone
  }
  const moment = (ms, exact) => {
    const part = Object.fromEntries(format.formatToParts(ms).map(({ type, value }) => [type, value]));
    const shown = Date.UTC(+part.year, part.month - 1, +part.day, +part.hour, +part.minute,
      +part.second, +part.fractionalSecond);
    const minutes = Math.round((shown - ms) / 60000);
    const distance = new Date(Math.abs(minutes) * 60000).toISOString().slice(11, 16);
    const apart = exact ? `${minutes < 0 ? "-" : "+"}${distance}` : "";
    return `${utc(shown)}${apart}`.replace(/\.000(?=$|[+-])/, "");
  };
  return { zone, moment };
}
