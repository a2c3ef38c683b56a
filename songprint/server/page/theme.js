// Before anything is painted: the colours that were chosen in this browser. No choice: those of the system.
document.documentElement.dataset.theme = localStorage.getItem("songprint.theme") ?? "system";
