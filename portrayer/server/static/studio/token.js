// Who we are: the token is asked for, once; the server then keeps it in a cookie that no script reads.

import { session } from "./api.js";
import { reason } from "./say.js";
import { t } from "./text.js";

/** Gives a promise of being let in. */
export const token = () => new Promise((resolve) => {
  const dialog = document.querySelector("#token");
  const [field, wrong] = ["#token-field", "#token-wrong"].map((id) => dialog.querySelector(id));
  wrong.textContent = "";
  dialog.oncancel = (event) => event.preventDefault();
  dialog.querySelector("form").onsubmit = async (event) => {
    event.preventDefault();
    try {
      await session(field.value);
      field.value = "";
      dialog.close();
      resolve();
    } catch (error) {
      wrong.textContent = error.status === 401 ? t("token.wrong") : reason(error);
      field.select();
    }
  };
  dialog.showModal();
});
