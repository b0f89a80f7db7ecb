// Code and tables that are wider than the page can be scrolled with the keyboard.
document$.subscribe(() => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  for (const box of document.querySelectorAll("pre > code, .md-typeset__scrollwrap, .md-typeset__table, .output"))
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
});
