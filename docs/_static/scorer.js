// How the site's search ranks: answers first, then the reference, then what only mentions a word.
// The numbers are Sphinx's own; `score` is what is added here.
const RANK = { "how-to/": 12, "alarms": 12, "start/": 4, "start/changelog": -8, "ARCHITECTURE": -8, "why/contributing": -8 };

var Scorer = {
  score: ([page, title, anchor, description, score]) => {
    const ranks = Object.keys(RANK).filter((name) => page.startsWith(name)).sort((a, b) => b.length - a.length);
    return score + (ranks.length ? RANK[ranks[0]] : 0);
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
