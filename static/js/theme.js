/* Runs before the first paint: without a choice of one's own, the theme follows the system. A choice is a
   cookie, which the server has rendered into <html data-bs-theme> already. */
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  if (root.dataset.theme !== "system") return;
  const follow = () => {
    if (root.dataset.theme === "system") root.dataset.bsTheme = dark.matches ? "dark" : "light";
  };
  follow();
  dark.addEventListener("change", follow);
})();
