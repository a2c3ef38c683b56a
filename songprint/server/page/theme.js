// Runs before the first paint: apply the colour scheme chosen in this browser; by default that of the system.
document.documentElement.dataset.theme = localStorage.getItem("songprint.theme") ?? "system";
