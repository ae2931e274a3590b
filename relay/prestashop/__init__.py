"""The only package that knows PrestaShop: how its webservice answers, fails and is set up."""
